//! The edge's settings. Only this file and its folder know their environment names.

mod bots;
mod identity;
mod late;
mod limits;
mod listener;
mod proofs;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use axum::http::HeaderName;
use ipnet::IpNet;
use runtime::{
    Secret, secret,
    settings::{bytes, duration, some_time},
};
use url::Url;

pub use self::bots::{BotConfig, BotRules, Captcha};
use crate::site::OriginRule;
pub use listener::Listener;
pub use proofs::{Proofs, RequestSignatures};

pub use identity::{ClaimNames, Identity, JwksSource, Mode as IdentityMode};

pub use late::LateReplies;
pub use limits::{LimitSettings, LimitsMode};

/// How the edge meets visitors.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// Address to listen on. Default: 127.0.0.1 all-in-one, 0.0.0.0 as edge.
    #[arg(long, env = "API_HOST")]
    pub api_host: Option<IpAddr>,
    /// Port to listen on; 0 means any free one.
    #[arg(long, env = "API_PORT", default_value_t = 8000)]
    pub api_port: u16,
    /// The address under which browsers reach this edge, such as `https://chat.shop.example`; with the path that a proxy
    /// takes off, if it does. Default: what the request says.
    #[arg(long, env = "PUBLIC_URL", value_parser = public_url)]
    pub public_url: Option<Url>,
    /// Networks whose proxies may tell the visitor's address, such as 10.0.0.0/8,::1/128.
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "", value_parser = networks)]
    pub trusted_proxies: Networks,
    /// The header in which a trusted proxy tells the visitor's country, such as CF-IPCountry, for analytics. The proxy
    /// must set it or take it off; without this setting no country is known.
    #[arg(long, env = "COUNTRY_HEADER")]
    pub country_header: Option<HeaderName>,
    /// Origins of pages that may embed the chat: `https://shop.example,https://*.shop.example`.
    #[arg(long, env = "ALLOWED_ORIGINS", default_value = "", value_parser = origins)]
    pub allowed_origins: Origins,
    /// More sites, or other settings of the site `default`: a JSON list, see docs/sites.md.
    #[arg(long, env = "SITES_FILE")]
    pub sites_file: Option<PathBuf>,
    /// A folder with `<site>.json` for each site whose widget has words, colours and switches of its own: see
    /// docs/widget-config.md. Default: the demo shop's, for all.
    #[arg(long, env = "WIDGET_CONFIG_DIR")]
    pub widget_config_dir: Option<PathBuf>,
    /// Whether a POST without an Origin header (server to server) is taken. Default: only all-in-one.
    #[arg(long, env = "ALLOW_NO_ORIGIN")]
    pub allow_no_origin: Option<bool>,

    /// Signs session tokens; 32 bytes or more. All-in-one makes one at every start when there is none.
    #[arg(long, env = "JWT_SECRET_KEY", hide_env_values = true, value_parser = secret::Hidden(secret::strong))]
    pub jwt_secret_key: Option<Secret>,
    /// The secret before the present one: its tokens stay good while keys rotate.
    #[arg(long, env = "JWT_SECRET_KEY_PREVIOUS", hide_env_values = true, value_parser = secret::Hidden(secret::strong))]
    pub jwt_secret_key_previous: Option<Secret>,
    /// How long a session token is good.
    #[arg(long, env = "SESSION_TTL", default_value = "1h", value_parser = some_time)]
    pub session_ttl: Duration,
    /// How long a session can be refreshed, from its beginning.
    #[arg(long, env = "SESSION_MAX_AGE", default_value = "24h", value_parser = some_time)]
    pub session_max_age: Duration,
    /// How long after a token has expired it still ends its session, and does nothing else: a visitor who comes back later
    /// can have deleted what is left of it. Only for sessions that are bound to a key, whose proof says who asks. 0s = not
    /// at all.
    #[arg(long, env = "SESSION_END_WITHIN", default_value = "30d", value_parser = duration)]
    pub session_end_within: Duration,
    /// How long a ticket opens new streams.
    #[arg(long, env = "TICKET_TTL", default_value = "60s", value_parser = some_time)]
    pub ticket_ttl: Duration,

    /// Customers who are signed in at the shop.
    #[command(flatten)]
    pub identity: Identity,

    /// A stream is ended after about this long; the browser reconnects and misses nothing.
    #[arg(long, env = "STREAM_MAX_AGE", default_value = "10m", value_parser = some_time)]
    pub stream_max_age: Duration,
    /// A stream whose client had more than 64 KiB still to take for all of this time is ended after a whole event; the
    /// browser reconnects and goes on from there.
    #[arg(long, env = "STREAM_MAX_LAG", default_value = "30s", value_parser = some_time)]
    pub stream_max_lag: Duration,
    /// After this much silence a stream carries a comment, so that proxies keep it open.
    #[arg(long, env = "SSE_HEARTBEAT", default_value = "15s", value_parser = some_time)]
    pub sse_heartbeat: Duration,
    /// What happens to a message while a reply of its session runs.
    #[arg(long, env = "ON_BUSY", default_value = "reject", value_enum)]
    pub on_busy: OnBusy,
    /// Longest message, in characters after cleaning.
    #[arg(long, env = "MESSAGE_MAX_CHARS", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..))]
    pub message_max_chars: u32,
    /// Longest comment that a visitor may write to the shop with a rating, in characters after cleaning. It is the one text
    /// of visitors that is kept. 0 = none is taken, and the widget asks for none; 2000 at most.
    #[arg(long, env = "FEEDBACK_COMMENT_MAX", default_value_t = 500, value_parser = clap::value_parser!(u32).range(..=2_000))]
    pub feedback_comment_max: u32,
    /// Turns of the browser's history that go to n8n; older ones are cut.
    #[arg(long, env = "HISTORY_MAX_MESSAGES", default_value_t = 20)]
    pub history_max_messages: u32,
    /// Whether n8n is told the visitor's address.
    #[arg(long, env = "N8N_SEND_CLIENT_IP", default_value_t = false, action = clap::ArgAction::Set)]
    pub n8n_send_client_ip: bool,

    /// What workflows say late.
    #[command(flatten)]
    pub late: LateReplies,

    /// Largest request body.
    #[arg(long, env = "BODY_MAX_BYTES", default_value = "64KiB", value_parser = bytes)]
    pub body_max_bytes: usize,
    /// A request body must have arrived after this long.
    #[arg(long, env = "BODY_TIMEOUT", default_value = "10s", value_parser = some_time)]
    pub body_timeout: Duration,
    /// What a connection may do, and TLS.
    #[command(flatten)]
    pub listener: Listener,
    /// At a stop, open connections get this long to finish.
    #[arg(long, env = "DRAIN_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// How much visitors may do.
    #[command(flatten)]
    pub limits: LimitSettings,

    /// How requests are signed.
    #[command(flatten)]
    pub proofs: Proofs,
    /// Who is taken for a bot.
    #[command(flatten)]
    pub bots: BotConfig,

    /// Bearer that reading /metrics needs. Default: callers of the private network need none.
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true, value_parser = secret::Hidden(secret::any))]
    pub metrics_token: Option<Secret>,

    /// Whether this is the all-in-one development mode: the demo page is shown, and defaults are kind. Not a setting:
    /// the executable knows.
    #[arg(skip)]
    pub demo: bool,
}

/// What happens to a message while a reply of its session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnBusy {
    /// 409 `session_busy`.
    Reject,
    /// The running reply is cancelled.
    Replace,
}

/// Networks, as one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

/// Rules for origins, as one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub Vec<OriginRule>);

impl Config {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        let host = if self.demo { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        SocketAddr::new(self.api_host.unwrap_or(host.into()), self.api_port)
    }

    /// What the listener takes at most.
    pub fn listener_limits(&self) -> runtime::http::Limits {
        runtime::http::Limits {
            connections: self.listener.max_connections,
            per_address: self.listener.max_connections_per_ip,
            exempt: self.trusted_proxies.0.clone(),
            header_timeout: self.listener.header_timeout,
            header_bytes: self.listener.header_max_bytes,
            headers: self.listener.header_max_count,
            url_bytes: self.listener.url_max_bytes,
            idle: self.listener.keep_alive_timeout,
            send_timeout: self.listener.send_timeout,
            drain: self.drain_timeout,
        }
    }

    /// Whether a POST or DELETE without `Origin` is taken.
    pub(crate) fn takes_no_origin(&self) -> bool {
        self.allow_no_origin.unwrap_or(self.demo)
    }

    /// What stands before our paths in the addresses that visitors see; no slash at its end.
    pub(crate) fn public_path(&self) -> &str {
        self.public_url.as_ref().map_or("", |url| url.path().trim_end_matches('/'))
    }

    /// Whether `ip` is a proxy that may tell the visitor's address.
    pub(crate) fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted_proxies.0.iter().any(|network| network.contains(&ip))
    }
}

/// Reads `PUBLIC_URL`. The error is a sentence for the operator.
pub fn public_url(text: &str) -> Result<Url, String> {
    let bad = || format!("`{text}` is not an address such as https://chat.shop.example");
    let url = Url::parse(text).map_err(|_| bad())?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match url.scheme() {
        "http" | "https" if plain && url.has_host() => Ok(url),
        _ => Err(bad()),
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(parse).collect()
}

fn networks(text: &str) -> Result<Networks, String> {
    let parse = |entry: &str| {
        let single = entry.parse::<IpAddr>().map(IpNet::from);
        single
            .or_else(|_| entry.parse())
            .map_err(|_| format!("`{entry}` is not a network such as 10.0.0.0/8 or ::1/128"))
    };
    list(text, parse).map(Networks)
}

fn origins(text: &str) -> Result<Origins, String> {
    list(text, OriginRule::parse).map(Origins)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn parse(args: &[&str]) -> Result<Config, String> {
        let args = std::iter::once("edge").chain(args.iter().copied());
        Cli::try_parse_from(args).map(|cli| cli.config).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = parse(&[]).unwrap();
        assert_eq!((config.api_port, config.message_max_chars, config.body_max_bytes), (8000, 4000, 65_536));
        assert_eq!((config.session_ttl.as_secs(), config.session_max_age.as_secs()), (3600, 86_400));
        assert_eq!((config.limits.rate_limit_per_minute, config.limits.rate_limit_create_per_minute), (60, 10));
        assert_eq!(config.address().to_string(), "0.0.0.0:8000");
        assert!(!config.takes_no_origin() && !config.trusts("127.0.0.1".parse().unwrap()));
        let demo = Config { demo: true, ..config };
        assert_eq!(demo.address().to_string(), "127.0.0.1:8000");
        assert!(demo.takes_no_origin());
    }

    #[test]
    fn a_bad_value_stops_the_start_with_a_sentence() {
        let check = |args: &[&str], sentence: &str| {
            let error = parse(args).unwrap_err();
            assert!(error.contains(sentence), "{args:?}: {error}");
        };
        check(&["--allowed-origins", "https://shop.example,shop.example"], "`shop.example`");
        check(&["--allowed-origins", "*"], "every");
        check(&["--trusted-proxies", "10.0.0.0/8,proxy"], "`proxy` is not a network");
        check(&["--public-url", "chat.shop.example"], "is not an address");
        check(&["--public-url", "https://shop.example/?chat"], "is not an address");
        check(&["--jwt-secret-key", "short"], "frontdesk keys");
        check(&["--session-ttl", "0s"], "more than zero");
        check(&["--identity-secret", "short"], "frontdesk keys");
        check(&["--identity-jwks", "http://shop.example/jwks.json"], "https://");
        check(&["--identity-claims", "name,sub"], "`sub`");
        check(&["--message-max-chars", "0"], "0 is not in 1..");
        check(&["--header-max-count", "0"], "from 1 to 1024");
        check(&["--keep-alive-timeout", "0s"], "more than zero");
        check(&["--tls-cert", "cert.pem"], "--tls-key");
        check(&["--tls-key", "key.pem"], "--tls-cert");
    }

    #[test]
    fn a_public_address_may_have_a_path() {
        let check = |url: &str, expected: &str| {
            assert_eq!(parse(&["--public-url", url]).unwrap().public_path(), expected, "{url}");
        };
        check("https://chat.shop.example", "");
        check("https://shop.example/chat/", "/chat");
        check("https://shop.example/a/b", "/a/b");
        assert_eq!(parse(&[]).unwrap().public_path(), "");
    }

    #[test]
    fn lists_may_be_spaced_or_empty() {
        let config = parse(&["--allowed-origins", " https://a.example , https://*.b.example ,"]).unwrap();
        assert_eq!(config.allowed_origins.0.len(), 2);
        let config = parse(&["--trusted-proxies", "10.0.0.0/8, ::1"]).unwrap();
        assert!(config.trusts("10.9.9.9".parse().unwrap()) && config.trusts("::1".parse().unwrap()));
        assert!(!config.trusts("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn secrets_never_print() {
        for setting in ["--jwt-secret-key", "--identity-secret"] {
            let config = parse(&[setting, "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"]).unwrap();
            assert!(!format!("{config:?}").contains("wq3r"), "{setting}");
        }
    }
}
