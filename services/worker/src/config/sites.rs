//! The sites of a worker: the settings' own, and those of `N8N_SITES_FILE`.

use protocol::SiteId;
use runtime::{
    Secret, secret,
    sites::{self, Entry},
};

use super::Config;
use crate::{
    Error,
    n8n::{self, config},
};

/// Fields that the edge's file has, and this one has not.
const OF_THE_EDGE: [&str; 5] =
    ["allowed_origins", "on_busy", "message_max_chars", "history_max_messages", "messages_per_minute"];

/// One site, as it is called.
#[derive(Clone, Debug)]
pub(crate) struct SiteConfig {
    pub(crate) id: SiteId,
    pub(crate) n8n: n8n::Config,
    /// 0: by the number of sites.
    pub(crate) concurrency: u32,
    pub(crate) queue: u32,
}

impl Config {
    /// All sites. One of the settings' own is there when they name a webhook, or when the file has a site `default`.
    pub(crate) fn sites(&self) -> Result<Vec<SiteConfig>, Error> {
        let own = SiteConfig {
            id: SiteId::new("default").expect("the word is of the form"),
            n8n: self.n8n.clone(),
            concurrency: self.site_concurrency,
            queue: self.site_queue,
        };
        let Some(file) = &self.n8n_sites_file else {
            return if own.n8n.webhook_url.is_some() { Ok(vec![own]) } else { Err(n8n::Error::NoUrl.into()) };
        };
        let entries = sites::read(file)?;
        let mut sites = entries.into_iter().map(|entry| own.with(entry)).collect::<Result<Vec<_>, _>>()?;
        if own.n8n.webhook_url.is_some() && sites.iter().all(|site| site.id != own.id) {
            sites.push(own);
        }
        if sites.is_empty() { Err(n8n::Error::NoUrl.into()) } else { Ok(sites) }
    }
}

/// A site as `frontdesk doctor` looks at it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name.
    pub id: SiteId,
    /// How its n8n is called.
    pub n8n: n8n::Config,
    /// Calls it.
    pub client: n8n::Client,
    /// Whether a reply may come by `reply_url`, after n8n's own answer.
    pub takes_late: bool,
}

impl Config {
    /// All sites with a client for each, as a worker would have them.
    pub fn for_doctor(&self) -> Result<Vec<Site>, Error> {
        let secret = self.session_secret_key.clone().unwrap_or_else(Secret::generate);
        let site = |site: SiteConfig| {
            let client = n8n::Client::new(&site.n8n, &secret)?;
            Ok(Site { id: site.id, n8n: site.n8n, client, takes_late: !self.late_reply_ttl.is_zero() })
        };
        self.sites()?.into_iter().map(site).collect()
    }
}

impl SiteConfig {
    /// A site of the file; what it does not say is as here.
    fn with(&self, mut entry: Entry) -> Result<Self, sites::Error> {
        let mut site = self.clone();
        site.id = SiteId::new(entry.id()).map_err(|error| entry.wrong("id", error))?;
        let n8n = &mut site.n8n;
        if let Some(url) = entry.text("webhook_url", config::webhook_url)? {
            n8n.webhook_url = url;
        }
        let Some(url) = &n8n.webhook_url else {
            return Err(entry.wrong("webhook_url", "is missing, and N8N_WEBHOOK_URL is not set"));
        };
        let elsewhere = self.n8n.webhook_url.as_ref().is_some_and(|own| own.origin() != url.origin());
        match entry.text("api_key", secret::any)? {
            Some(key) => n8n.api_key = key,
            // Not said to whoever happens to be the host of another site.
            None if elsewhere && n8n.api_key.is_some() => {
                return Err(entry.wrong("api_key", "is missing: N8N_API_KEY is for another host; null means none"));
            }
            None => {}
        }
        if let Some(name) = entry.text("api_key_header", config::key_header)?.flatten() {
            n8n.api_key_header = name;
        }
        if let Some(url) = entry.text("api_url", config::api_url)? {
            // That of another n8n is not said to this one.
            n8n.api_token = n8n.api_token.take().filter(|_| url == n8n.api_url);
            n8n.api_url = url;
        }
        if let Some(token) = entry.text("api_token", secret::any)? {
            n8n.api_token = token;
        }
        if n8n.api_url.is_some() != n8n.api_token.is_some() {
            return Err(entry.wrong("api_token", "and `api_url` go together; that of N8N_API_TOKEN is for N8N_API_URL"));
        }
        site.concurrency = entry.number("concurrency", 1)?.unwrap_or(site.concurrency);
        site.queue = entry.number("queue", 0)?.unwrap_or(site.queue);
        entry.end(&OF_THE_EDGE, "SITES_FILE of the edge")?;
        Ok(site)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        worker: Config,
    }

    /// All sites with this file and these settings, or the sentence that stops the start, without the file's name.
    fn sites(file: &str, settings: &[&str]) -> Result<Vec<SiteConfig>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sites.json");
        std::fs::write(&path, file).unwrap();
        let path = path.display().to_string();
        let settings = ["worker", "--n8n-sites-file", &path].into_iter().chain(settings.iter().copied());
        Cli::parse_from(settings).worker.sites().map_err(|error| match error {
            Error::Sites(error) => error.to_string().replace(&path, "FILE"),
            other => other.to_string(),
        })
    }

    const URL: [&str; 2] = ["--n8n-webhook-url", "https://n8n.example/webhook/one"];

    fn summary(site: &SiteConfig) -> (&str, &str, Option<&str>, u32, u32) {
        let n8n = &site.n8n;
        let url = n8n.webhook_url.as_ref().map_or("", |url| url.as_str());
        (site.id.as_str(), url, n8n.api_key.as_ref().map(runtime::Secret::expose), site.concurrency, site.queue)
    }

    #[test]
    fn what_a_site_does_not_say_is_as_in_the_settings() {
        let file = r#"[{"id":"shop-a","webhook_url":"https://n8n.example/webhook/a","concurrency":8},
            {"id":"shop-b","webhook_url":"https://b.example/b","api_key":"b-key","api_key_header":"X-B","queue":0},
            {"id":"shop-c","webhook_url":"https://c.example/c","api_key":null}]"#;
        let settings = ["--n8n-api-key", "a-key", "--site-queue", "9"];
        let all = sites(file, &[&URL[..], &settings].concat()).unwrap();
        let expected = [
            ("shop-a", "https://n8n.example/webhook/a", Some("a-key"), 8, 9),
            ("shop-b", "https://b.example/b", Some("b-key"), 0, 0),
            ("shop-c", "https://c.example/c", None, 0, 9),
            ("default", "https://n8n.example/webhook/one", Some("a-key"), 0, 9),
        ];
        assert_eq!(all.iter().map(summary).collect::<Vec<_>>(), expected);
        assert_eq!(all[1].n8n.api_key_header, "x-b");
    }

    /// A token goes to the API that it was given for, and to no other.
    #[test]
    fn the_api_of_one_n8n_is_not_anothers() {
        let file = r#"[{"id":"same"},{"id":"other","api_url":"https://b.example/api/v1","api_token":"b-token"},
            {"id":"none","api_url":null}]"#;
        let settings = ["--n8n-api-url", "https://n8n.example/api/v1", "--n8n-api-token", "a-token"];
        let all = sites(file, &[&URL[..], &settings].concat()).unwrap();
        let api = |site: &SiteConfig| {
            let token = site.n8n.api_token.as_ref().map(|token| token.expose().to_owned());
            (site.n8n.api_url.as_ref().and_then(|url| url.host_str().map(str::to_owned)), token)
        };
        let some = |host: &str, token: &str| (Some(host.to_owned()), Some(token.to_owned()));
        let expected = [
            some("n8n.example", "a-token"),
            some("b.example", "b-token"),
            (None, None),
            some("n8n.example", "a-token"),
        ];
        assert_eq!(all.iter().map(api).collect::<Vec<_>>(), expected);
        let other = sites(r#"[{"id":"a","api_url":"https://b.example/api/v1"}]"#, &[&URL[..], &settings].concat());
        assert!(other.unwrap_err().contains("`api_token`"));
    }

    #[test]
    fn the_default_site_may_stand_in_the_file_or_be_missing() {
        let check = |file: &str, settings: &[&str], expected: &[(&str, &str)]| {
            let all = sites(file, settings).unwrap();
            assert_eq!(all.iter().map(summary).map(|site| (site.0, site.1)).collect::<Vec<_>>(), expected);
        };
        let two = "https://n8n.example/webhook/two";
        check(&format!(r#"[{{"id":"default","webhook_url":"{two}"}}]"#), &URL, &[("default", two)]);
        check(&format!(r#"[{{"id":"shop-a","webhook_url":"{two}"}}]"#), &[], &[("shop-a", two)]);
        check("[]", &URL, &[("default", URL[1])]);
        assert!(sites("[]", &[]).unwrap_err().contains("N8N_WEBHOOK_URL is not set"));
    }

    #[test]
    fn a_bad_site_stops_the_start_with_a_sentence() {
        let check = |file: &str, expected: &str| {
            let key = ["--n8n-api-key", "hidden-key"];
            let error = sites(file, &[&URL[..], &key].concat()).unwrap_err();
            assert_eq!(error, format!("FILE: {expected}"), "{file}");
        };
        check(r#"[{"id":"a b"}]"#, &format!("site `a b`: `id` {}", SiteId::new("a b").unwrap_err()));
        check(
            r#"[{"id":"a","webhook_url":"hidden"}]"#,
            "site `a`: `webhook_url` write a URL such as https://n8n.example/webhook/shop-chat",
        );
        check(
            r#"[{"id":"a","webhook_url":"https://other.example/x"}]"#,
            "site `a`: `api_key` is missing: N8N_API_KEY is for another host; null means none",
        );
        check(r#"[{"id":"a","api_key":7}]"#, "site `a`: `api_key` is not text");
        check(
            r#"[{"id":"a","api_key_header":"Content-Type"}]"#,
            "site `a`: `api_key_header` content-type has another meaning in the request",
        );
        check(
            r#"[{"id":"a","api_url":"https://n8n.example/api/v1"}]"#,
            "site `a`: `api_token` and `api_url` go together; that of N8N_API_TOKEN is for N8N_API_URL",
        );
        check(r#"[{"id":"a","concurrency":0}]"#, "site `a`: `concurrency` is not a whole number of 1 or more");
        check(
            r#"[{"id":"a","allowed_origins":[]}]"#,
            "site `a`: `allowed_origins` does not belong here, but into SITES_FILE of the edge",
        );
        check(r#"[{"id":"a","webhook":"hidden"}]"#, "site `a`: `webhook` is not a field of a site");
        let error = sites(r#"[{"id":"a"}]"#, &[]).unwrap_err();
        assert!(error.ends_with("site `a`: `webhook_url` is missing, and N8N_WEBHOOK_URL is not set"), "{error}");
    }
}
