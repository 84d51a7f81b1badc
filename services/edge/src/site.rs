//! Sites: one shop each. One, `default`, is made from the settings, more come from `SITES_FILE`; everything asks by id.
//!
//! How the chat looks on a site is in [`crate::widget`].

use std::{collections::BTreeMap, fmt, sync::Arc};

use clap::ValueEnum as _;
use protocol::SiteId;
use runtime::sites::{self, Entry};
use url::Url;

use crate::config::{Config, OnBusy};

/// The site of a session that names none.
pub(crate) const DEFAULT: &str = "default";

/// Fields that the worker's file has, and this one has not: an edge knows neither webhooks nor keys.
const OF_THE_WORKER: [&str; 7] =
    ["webhook_url", "api_key", "api_key_header", "api_url", "api_token", "concurrency", "queue"];

/// One shop.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) id: SiteId,
    origins: Vec<OriginRule>,
    pub(crate) message_max_chars: u32,
    pub(crate) history_max_messages: u32,
    /// Of a session; 0 = no limit.
    pub(crate) messages_per_minute: u32,
    pub(crate) on_busy: OnBusy,
}

impl Site {
    /// Its rules, as sources for a `frame-ancestors` directive.
    pub(crate) fn frame_ancestors(&self) -> String {
        self.origins.iter().fold("'self'".to_owned(), |sources, rule| format!("{sources} {rule}"))
    }

    /// Whether pages of `origin` may embed the chat and call the API for this site.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|rule| rule.matches(origin))
    }

    /// A site of the file; what it does not say is as here.
    fn with(&self, mut entry: Entry) -> Result<Self, sites::Error> {
        let id = SiteId::new(entry.id()).map_err(|error| entry.wrong("id", error))?;
        let origins = entry.texts("allowed_origins")?.map(|origins| {
            let rules = origins.iter().map(|origin| OriginRule::parse(origin)).collect::<Result<_, _>>();
            rules.map_err(|error| entry.wrong("allowed_origins", error))
        });
        let on_busy = |text: &str| OnBusy::from_str(text, false).map_err(|_| "is neither `reject` nor `replace`");
        let site = Self {
            id,
            origins: origins.transpose()?.unwrap_or_else(|| self.origins.clone()),
            message_max_chars: entry.number("message_max_chars", 1)?.unwrap_or(self.message_max_chars),
            history_max_messages: entry.number("history_max_messages", 0)?.unwrap_or(self.history_max_messages),
            messages_per_minute: entry.number("messages_per_minute", 0)?.unwrap_or(self.messages_per_minute),
            on_busy: entry.text("on_busy", on_busy)?.flatten().unwrap_or(self.on_busy),
        };
        entry.end(&OF_THE_WORKER, "N8N_SITES_FILE of the worker")?;
        Ok(site)
    }
}

/// All sites of this edge.
#[derive(Debug)]
pub(crate) struct Sites {
    /// In order, so that all edges write the same headers.
    by_id: BTreeMap<SiteId, Arc<Site>>,
}

impl Sites {
    /// The site `default` of the settings, and those of the file, which may have another `default`.
    pub(crate) fn new(config: &Config) -> Result<Self, sites::Error> {
        let own = Site {
            id: SiteId::new(DEFAULT).expect("the word is of the form"),
            origins: config.allowed_origins.0.clone(),
            message_max_chars: config.message_max_chars,
            history_max_messages: config.history_max_messages,
            messages_per_minute: config.limits.rate_limit_session_per_minute,
            on_busy: config.on_busy,
        };
        let entries = config.sites_file.as_deref().map(sites::read).transpose()?.unwrap_or_default();
        let more = entries.into_iter().map(|entry| own.with(entry)).collect::<Result<Vec<_>, _>>()?;
        let all = std::iter::once(own).chain(more);
        Ok(Self { by_id: all.map(|site| (site.id.clone(), Arc::new(site))).collect() })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Site> {
        self.by_id.values().map(Arc::as_ref)
    }

    pub(crate) fn get(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.by_id.get(id).cloned()
    }

    /// The first site that allows `origin`, for a request that has not told its site.
    pub(crate) fn of_origin(&self, origin: &str) -> Option<&Site> {
        self.iter().find(|site| site.allows(origin))
    }

    /// Whether any site allows `origin`: asked before a request has told its site.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        self.of_origin(origin).is_some()
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

    /// The sites of this file, with these settings, or the sentence that stops the start, without the file's name.
    fn sites(file: &str, settings: &[&str]) -> Result<Sites, String> {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            config: Config,
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sites.json");
        std::fs::write(&path, file).unwrap();
        let path = path.display().to_string();
        let settings = ["edge", "--sites-file", &path].into_iter().chain(settings.iter().copied());
        let config = <Cli as clap::Parser>::parse_from(settings).config;
        Sites::new(&config).map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn what_a_site_does_not_say_is_as_in_the_settings() {
        let file = r#"[{"id":"shop-a"},{"id":"shop-b","allowed_origins":["https://*.b.example"],"on_busy":"replace",
            "message_max_chars":10,"history_max_messages":0,"messages_per_minute":0}]"#;
        let sites = sites(file, &["--allowed-origins", "https://a.example", "--message-max-chars", "20"]).unwrap();
        let check = |id: &str, origin: &str, expected: (u32, u32, u32, OnBusy)| {
            let site = sites.get(&SiteId::new(id).unwrap()).unwrap();
            let limits = (site.message_max_chars, site.history_max_messages, site.messages_per_minute, site.on_busy);
            assert_eq!(limits, expected, "{id}");
            let allowed: Vec<&str> =
                ["https://a.example", "https://x.b.example"].into_iter().filter(|origin| site.allows(origin)).collect();
            assert_eq!(allowed, [origin], "{id}");
        };
        check("default", "https://a.example", (20, 20, 20, OnBusy::Reject));
        check("shop-a", "https://a.example", (20, 20, 20, OnBusy::Reject));
        check("shop-b", "https://x.b.example", (10, 0, 0, OnBusy::Replace));
        let framed = |id| sites.get(&SiteId::new(id).unwrap()).unwrap().frame_ancestors();
        assert_eq!(
            (framed("shop-a"), framed("shop-b")),
            ("'self' https://a.example".into(), "'self' https://*.b.example".into())
        );
        assert!(sites.allow("https://x.b.example") && !sites.allow("https://c.example"));
    }

    #[test]
    fn the_default_site_may_stand_in_the_file() {
        let sites = sites(r#"[{"id":"default","message_max_chars":7}]"#, &[]).unwrap();
        assert_eq!(sites.iter().map(|site| site.message_max_chars).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_bad_site_stops_the_start_with_a_sentence() {
        let check = |site: &str, expected: &str| {
            let error = sites(&format!("[{site}]"), &[]).unwrap_err();
            assert_eq!(error, format!("FILE: site `a`: {expected}"), "{site}");
        };
        check(
            r#"{"id":"a","allowed_origins":["https://a.example","*"]}"#,
            &format!("`allowed_origins` {}", OriginRule::parse("*").unwrap_err()),
        );
        check(r#"{"id":"a","allowed_origins":"https://a.example"}"#, "`allowed_origins` is not a list of texts");
        check(r#"{"id":"a","on_busy":"wait"}"#, "`on_busy` is neither `reject` nor `replace`");
        check(r#"{"id":"a","message_max_chars":0}"#, "`message_max_chars` is not a whole number of 1 or more");
        check(
            r#"{"id":"a","webhook_url":"https://n8n.example/hidden"}"#,
            "`webhook_url` does not belong here, but into N8N_SITES_FILE of the worker",
        );
        check(r#"{"id":"a","color":"red"}"#, "`color` is not a field of a site");
        assert!(sites(r#"[{"id":"a.b"}]"#, &[]).unwrap_err().starts_with("FILE: site `a.b`: `id` "));
    }

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
