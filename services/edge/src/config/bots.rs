//! Settings of the bot and spam rules, and of challenges.

use std::time::Duration;

use runtime::{Secret, secret, settings::some_time};
use url::Url;

/// Who is taken for a bot, and what becomes of them.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct BotConfig {
    /// What the bot and spam rules do: nothing, count and log, or act.
    #[arg(long, env = "BOT_RULES", default_value = "enforce", value_enum)]
    pub bot_rules: BotRules,
    /// From this score on a request must answer a challenge; 0 = every request.
    #[arg(long, env = "BOT_CHALLENGE_AT", default_value_t = 60)]
    pub bot_challenge_at: u32,
    /// From this score on a request is refused.
    #[arg(long, env = "BOT_REFUSE_AT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub bot_refuse_at: u32,
    /// A message that was written faster than this counts against its sender.
    #[arg(long, env = "BOT_MIN_FILL", default_value = "300ms", value_parser = runtime::settings::duration)]
    pub bot_min_fill: Duration,

    /// How long repeats, bursts and equal texts are remembered.
    #[arg(long, env = "SPAM_WINDOW", default_value = "10m", value_parser = some_time)]
    pub spam_window: Duration,
    /// The same text more often than this in a session counts against it; 0 = never.
    #[arg(long, env = "SPAM_REPEATS", default_value_t = 3)]
    pub spam_repeats: u32,
    /// More messages than this of a session within ten seconds count against it; 0 = never.
    #[arg(long, env = "SPAM_BURST", default_value_t = 8)]
    pub spam_burst: u32,
    /// One text from more sessions than this counts against each; with a link, four times as many refuse it. 0 = never.
    #[arg(long, env = "SPAM_SESSIONS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(..=64))]
    pub spam_sessions: u32,
    /// A message with more links to other hosts than the shop's is refused; 0 = any number.
    #[arg(long, env = "SPAM_MAX_LINKS", default_value_t = 10)]
    pub spam_max_links: u32,

    /// Leading zero bits of a proof of work: each one more doubles the work.
    #[arg(long, env = "CHALLENGE_DIFFICULTY", default_value_t = 17, value_parser = clap::value_parser!(u8).range(1..=30))]
    pub challenge_difficulty: u8,
    /// How long a challenge can be answered; 150s at most, for as long as answers are remembered.
    #[arg(long, env = "CHALLENGE_TTL", default_value = "2m", value_parser = challenge_ttl)]
    pub challenge_ttl: Duration,
    /// Who tells people from programs when a proof of work was not enough.
    #[arg(long, env = "CAPTCHA", default_value = "off", value_enum)]
    pub captcha: Captcha,
    /// The captcha's public key.
    #[arg(long, env = "CAPTCHA_SITE_KEY", value_parser = site_key)]
    pub captcha_site_key: Option<String>,
    /// The captcha's secret key.
    #[arg(long, env = "CAPTCHA_SECRET_KEY", hide_env_values = true, value_parser = secret::Hidden(secret::any))]
    pub captcha_secret_key: Option<Secret>,
    /// Where the captcha's answers are verified. Default: the provider's own address.
    #[arg(long, env = "CAPTCHA_VERIFY_URL", value_parser = verify_url)]
    pub captcha_verify_url: Option<Url>,
}

/// See [`BotConfig::bot_rules`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BotRules {
    /// There are none.
    Off,
    /// What would have been done is counted and logged.
    Shadow,
    /// Challenges and refusals.
    Enforce,
}

/// See [`BotConfig::captcha`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Captcha {
    /// Nobody.
    Off,
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    #[value(name = "hcaptcha")]
    HCaptcha,
}

impl Captcha {
    /// The public name: in a challenge, and before the token in its answer.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Turnstile => "turnstile",
            Self::HCaptcha => "hcaptcha",
        }
    }

    /// Where its answers are verified.
    pub(crate) fn verify_url(self) -> &'static str {
        match self {
            Self::HCaptcha => "https://api.hcaptcha.com/siteverify",
            Self::Off | Self::Turnstile => "https://challenges.cloudflare.com/turnstile/v0/siteverify",
        }
    }
}

/// An answer must not outlive the memory of its use.
fn challenge_ttl(text: &str) -> Result<Duration, String> {
    let longest = bus::PROOF_WINDOW;
    match some_time(text)? {
        ttl if ttl <= longest => Ok(ttl),
        _ => Err(format!("must be {} s at most", longest.as_secs())),
    }
}

fn verify_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|_| "write a URL such as https://api.hcaptcha.com/siteverify".to_owned())?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err("must begin with http:// or https://".to_owned())
    }
}

/// It is shown to browsers: whoever mixes it up with the secret one should learn it here.
fn site_key(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=128).contains(&text.len()) && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 characters of A-Z a-z 0-9 - _".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::{Error, tests::config};

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        bots: super::BotConfig,
    }

    #[test]
    fn a_bad_value_stops_the_start_with_a_sentence() {
        let check = |args: &[&str], sentence: &str| {
            let error = Cli::try_parse_from(std::iter::once(&"edge").chain(args)).map(|cli| cli.bots).unwrap_err();
            assert!(error.to_string().contains(sentence), "{args:?}: {error}");
        };
        check(&["--bot-rules", "on"], "off, shadow, enforce");
        check(&["--bot-refuse-at", "0"], "0 is not in 1..");
        check(&["--challenge-difficulty", "31"], "31 is not in 1..=30");
        check(&["--spam-sessions", "65"], "65 is not in");
        check(&["--challenge-ttl", "151s"], "150 s at most");
        check(&["--captcha", "other"], "off, turnstile, hcaptcha");
        check(&["--captcha-site-key", "a key"], "A-Z a-z 0-9");
        check(&["--captcha-verify-url", "ftp://captcha.example"], "must begin with http");
    }

    #[test]
    fn a_captcha_needs_its_keys_and_shows_no_secret() {
        let keys = ["--captcha-site-key", "1x00AA", "--captcha-secret-key", "0x4AAA"];
        let check = |args: &[&str], good: bool| {
            assert_eq!(!matches!(config(args).check(), Err(Error::NoCaptchaKeys)), good, "{args:?}");
        };
        check(&[], true);
        check(&["--captcha", "turnstile"], false);
        check(&[&["--captcha", "hcaptcha"], &keys[..2]].concat(), false);
        check(&[&["--captcha", "hcaptcha"], &keys[..]].concat(), true);
        assert!(!format!("{:?}", config(&keys)).contains("0x4AAA"));
    }
}
