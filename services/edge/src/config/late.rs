//! Where workflows send what they say late.

use std::{net::SocketAddr, time::Duration};

use runtime::settings::some_time;
use url::Url;

use super::public_url;

/// See the module.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct LateReplies {
    /// The address under which n8n reaches the edges, the beginning of each `reply_url`: `http://edge:8000`. Default:
    /// PUBLIC_URL, else the address that is listened on, where that is one; without any, n8n gets no `reply_url`.
    #[arg(long, env = "REPLY_URL_BASE", value_parser = public_url)]
    pub reply_url_base: Option<Url>,
    /// How long a `reply_url` is good; never longer than its session.
    #[arg(long, env = "REPLY_URL_TTL", default_value = "24h", value_parser = some_time)]
    pub reply_url_ttl: Duration,
}

impl LateReplies {
    /// The beginning of each `reply_url`. Never what a request says: whoever writes that would have n8n send replies to
    /// wherever they like.
    pub(crate) fn base(&self, public_url: Option<&Url>, listening: SocketAddr, tls: bool) -> Option<Url> {
        let set = self.reply_url_base.as_ref().or(public_url).cloned();
        let here = || {
            let scheme = if tls { "https" } else { "http" };
            let url = format!("{scheme}://{listening}");
            Some(url).filter(|_| !listening.ip().is_unspecified()).and_then(|url| url.parse().ok())
        };
        set.or_else(here)
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::config;

    #[test]
    fn the_base_is_what_was_set_and_never_a_guess() {
        let check = |args: &[&str], listening: &str, tls: bool, expected: Option<&str>| {
            let config = config(args);
            let base = config.late.base(config.public_url.as_ref(), listening.parse().unwrap(), tls);
            assert_eq!(base.as_ref().map(url::Url::as_str), expected, "{args:?} {listening}");
        };
        let (base, public) =
            (["--reply-url-base", "http://edge:8000"], ["--public-url", "https://chat.shop.example/c"]);
        check(&[], "0.0.0.0:8000", false, None);
        check(&[], "[::]:8000", true, None);
        check(&[], "127.0.0.1:8000", false, Some("http://127.0.0.1:8000/"));
        check(&[], "[::1]:8000", true, Some("https://[::1]:8000/"));
        check(&public, "127.0.0.1:8000", false, Some("https://chat.shop.example/c"));
        check(&[base, public].concat(), "0.0.0.0:8000", false, Some("http://edge:8000/"));
    }
}
