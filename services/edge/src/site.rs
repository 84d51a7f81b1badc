//! Sites: one shop each. Today there is one, made from the settings; everything asks by id, so that there can be more.
//!
//! How the chat looks on a site is `widget-config.json`, which the widget reads itself.

use std::{collections::HashMap, fmt, sync::Arc};

use protocol::SiteId;
use url::Url;

use crate::config::{Config, OnBusy};

/// The site of a session that names none.
pub(crate) const DEFAULT: &str = "default";

/// One shop.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) id: SiteId,
    origins: Vec<OriginRule>,
    pub(crate) message_max_chars: u32,
    pub(crate) history_max_messages: u32,
    /// 0 = no limit.
    pub(crate) messages_per_minute: u32,
    pub(crate) on_busy: OnBusy,
}

impl Site {
    /// Whether pages of `origin` may embed the chat and call the API for this site.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|rule| rule.matches(origin))
    }
}

/// All sites of this edge.
#[derive(Debug)]
pub(crate) struct Sites {
    by_id: HashMap<SiteId, Arc<Site>>,
}

impl Sites {
    /// The one site of the settings.
    pub(crate) fn new(config: &Config) -> Self {
        let id = SiteId::new(DEFAULT).expect("the word is of the form");
        let site = Site {
            id: id.clone(),
            origins: config.allowed_origins.0.clone(),
            message_max_chars: config.message_max_chars,
            history_max_messages: config.history_max_messages,
            messages_per_minute: config.limits.rate_limit_session_per_minute,
            on_busy: config.on_busy,
        };
        Self { by_id: HashMap::from([(id, Arc::new(site))]) }
    }

    pub(crate) fn get(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.by_id.get(id).cloned()
    }

    /// Whether any site allows `origin`: asked before a request has told its site.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.by_id.values().any(|site| site.allows(origin))
    }

    /// Every rule, as sources for a `frame-ancestors` directive.
    pub(crate) fn frame_ancestors(&self) -> String {
        let rules = self.by_id.values().flat_map(|site| &site.origins);
        rules.fold("'self'".to_owned(), |sources, rule| format!("{sources} {rule}"))
    }
}

/// An entry of `ALLOWED_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginRule {
    /// This origin, as browsers write it.
    Exact(String),
    /// Every host below a domain, not the domain itself.
    Below {
        /// With `://`.
        scheme: String,
        /// With its leading dot, and the port if it is not the scheme's own.
        suffix: String,
    },
}

impl OriginRule {
    /// Reads `https://shop.example` or `https://*.shop.example`. The error is a sentence for the operator.
    pub fn parse(entry: &str) -> Result<Self, String> {
        if entry == "*" {
            return Err("`*` would let every page use the chat; name the shop's origins".to_owned());
        }
        let bad = || format!("`{entry}` is not an origin such as https://shop.example or https://*.shop.example");
        let below = entry.contains("://*.");
        let url = Url::parse(&entry.replacen("://*.", "://", 1)).map_err(|_| bad())?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && !url.as_str().contains('*');
        if !plain {
            return Err(bad());
        }
        let origin = url.origin().ascii_serialization();
        if !below {
            return Ok(Self::Exact(origin));
        }
        // `https://*.example` would be a whole top-level domain, and an address has nothing below it.
        let domain = url.domain().filter(|domain| domain.trim_matches('.').contains('.')).ok_or_else(bad)?;
        let scheme = format!("{}://", url.scheme());
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self::Below { scheme, suffix: format!(".{domain}{port}") })
    }

    /// Compares with an `Origin` header's value. Browsers write origins in one way, so bytes are compared.
    pub(crate) fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, suffix } => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(suffix.as_str()))
                .is_some_and(|below| below.split('.').all(is_label)),
        }
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(origin) => f.write_str(origin),
            Self::Below { scheme, suffix } => write!(f, "{scheme}*{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_exact_or_below_a_domain() {
        let check = |entry: &str, expected: Option<&str>| {
            assert_eq!(OriginRule::parse(entry).ok().map(|rule| rule.to_string()).as_deref(), expected, "{entry}");
        };
        check("https://shop.example", Some("https://shop.example"));
        check("https://Shop.Example:443/", Some("https://shop.example"));
        check("http://localhost:3000", Some("http://localhost:3000"));
        check("https://bücher.example", Some("https://xn--bcher-kva.example"));
        check("https://*.shop.example", Some("https://*.shop.example"));
        check("https://*.shop.example:8443", Some("https://*.shop.example:8443"));
        for bad in [
            "*",
            "null",
            "shop.example",
            "ftp://shop.example",
            "https://",
            "https://shop.example/path",
            "https://shop.example?x",
            "https://user@shop.example",
            "https://*",
            "https://*.example",
            "https://*.10.0.0.1",
            "https://shop.*",
            "https://a.*.example",
            "https://*.*.example",
            "file:///x",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn origins_match_as_browsers_write_them() {
        let check = |entry: &str, origin: &str, expected: bool| {
            assert_eq!(OriginRule::parse(entry).unwrap().matches(origin), expected, "{entry} {origin}");
        };
        check("https://shop.example", "https://shop.example", true);
        check("https://shop.example", "http://shop.example", false);
        check("https://shop.example", "https://shop.example:8443", false);
        check("https://shop.example", "https://shop.example.evil.example", false);
        check("https://shop.example", "https://evilshop.example", false);
        check("https://shop.example", "https://www.shop.example", false);
        check("https://shop.example", "null", false);
        check("https://*.shop.example", "https://www.shop.example", true);
        check("https://*.shop.example", "https://a.b.shop.example", true);
        check("https://*.shop.example", "https://shop.example", false);
        check("https://*.shop.example", "https://.shop.example", false);
        check("https://*.shop.example", "https://evilshop.example", false);
        check("https://*.shop.example", "https://evil.example/.shop.example", false);
        check("https://*.shop.example", "https://evil.example#.shop.example", false);
        check("https://*.shop.example", "https://a..shop.example", false);
        check("https://*.shop.example", "http://www.shop.example", false);
        check("https://*.shop.example", "https://www.shop.example:8443", false);
        check("https://*.shop.example:8443", "https://www.shop.example:8443", true);
    }
}
