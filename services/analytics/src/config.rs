//! Settings of analytics.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::SiteId;
use runtime::{Secret, secret};

/// The file of an analytics process that was given none, in the folder in which it was started.
pub const DEFAULT_DB: &str = "frontdesk-analytics.redb";

/// The address of analytics where none was given.
pub const DEFAULT_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8002);

/// Where analytics keeps what it learns, and where it can be asked how it is.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Config {
    /// The database file; one process at a time has it open. Without this setting `frontdesk analytics` uses
    /// frontdesk-analytics.redb in the current folder, and the all-in-one mode forgets everything when it stops.
    #[arg(long, env = "ANALYTICS_DB_PATH")]
    pub analytics_db_path: Option<PathBuf>,
    /// Days after which a session is removed in which nothing happened any more; figures stay. 0 keeps all,
    /// 3650 at most.
    #[arg(long, env = "ANALYTICS_RETENTION_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(0..=3650))]
    pub analytics_retention_days: u32,
    /// Where the dashboard, the API, health and metrics of analytics are served.
    #[arg(long, env = "ANALYTICS_ADDR", default_value_t = DEFAULT_ADDR)]
    pub analytics_addr: SocketAddr,
    /// Bearer that sees and may erase everything that analytics knows; 32 bytes or more. Without it and SITE_TOKENS the
    /// API and the dashboard are off; all-in-one makes one at every start when it listens on the loopback.
    #[arg(long, env = "ADMIN_TOKEN", hide_env_values = true, value_parser = secret::Hidden(secret::strong))]
    pub admin_token: Option<Secret>,
    /// Bearers that see and may erase what analytics knows of one site: `site=token,site2=token2`; each 32 bytes or
    /// more. A site may have several.
    #[arg(long, env = "SITE_TOKENS", hide_env_values = true, value_parser = secret::Hidden(site_tokens))]
    pub site_tokens: Option<SiteTokens>,
    /// Callers of each limit whose counts are kept in the file, about, in 20 bytes each, so that a restart forgets nobody
    /// who is limited; 0 = none are kept. The most that all edges together remember is LIMITS_MAX_KEYS.
    #[arg(long, env = "ANALYTICS_LIMITS_MAX_KEYS", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    pub analytics_limits_max_keys: u32,
}

/// See [`Config::site_tokens`].
#[derive(Clone, Debug)]
pub struct SiteTokens(pub(crate) Vec<(SiteId, Secret)>);

/// Why analytics can't start with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Who has a site's token would see all sites.
    #[error("a token of SITE_TOKENS is also ADMIN_TOKEN; make each with `frontdesk keys`")]
    SameToken,
}

fn site_tokens(text: &str) -> Result<SiteTokens, String> {
    let mut tokens: Vec<(SiteId, Secret)> = Vec::new();
    // None is named: where somebody wrote token=site, the site would be the token.
    for (number, pair) in (1..).zip(text.split(',').map(str::trim).filter(|pair| !pair.is_empty())) {
        let (site, token) = pair.split_once('=').ok_or("must be written site=token,site2=token2")?;
        let site: SiteId = site.trim().parse().map_err(|error| format!("number {number} has a bad site: {error}"))?;
        let token = Secret::strong(token.trim()).map_err(|error| format!("number {number} {error}"))?;
        if tokens.iter().any(|(other, known)| *other != site && known.expose() == token.expose()) {
            return Err(format!("number {number} is another site's as well; make each with `frontdesk keys`"));
        }
        tokens.push((site, token));
    }
    Ok(SiteTokens(tokens))
}

impl Config {
    /// Whether analytics can start with these settings.
    pub fn check(&self) -> Result<(), SettingsError> {
        let Some(admin) = &self.admin_token else { return Ok(()) };
        let same = self.site_tokens().any(|(_, token)| token.expose() == admin.expose());
        if same { Err(SettingsError::SameToken) } else { Ok(()) }
    }

    /// Whether anybody could sign in at the API.
    pub fn has_tokens(&self) -> bool {
        self.admin_token.is_some() || self.site_tokens().next().is_some()
    }

    pub(crate) fn site_tokens(&self) -> impl Iterator<Item = &(SiteId, Secret)> {
        self.site_tokens.iter().flat_map(|tokens| &tokens.0)
    }

    /// These settings with a file in any case: what a process with no other role wants.
    #[must_use]
    pub fn on_disk(self) -> Self {
        let path = self.analytics_db_path.unwrap_or_else(|| Path::new(DEFAULT_DB).to_owned());
        Self { analytics_db_path: Some(path), ..self }
    }

    /// Callers of each limit that are kept; none without a file, where they would be gone with the edge.
    pub(crate) fn limits_max_keys(&self) -> usize {
        let most = self.analytics_db_path.as_ref().map_or(0, |_| self.analytics_limits_max_keys);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    pub(crate) fn retention(&self) -> Option<Duration> {
        let days = (self.analytics_retention_days > 0).then_some(self.analytics_retention_days);
        days.map(|days| Duration::from_secs(24 * 3600) * days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn config(args: &[&str]) -> Result<Config, String> {
        let line = std::iter::once("analytics").chain(args.iter().copied());
        <Cli as clap::Parser>::try_parse_from(line).map(|cli| cli.config).map_err(|error| error.to_string())
    }

    const ONE: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
    const TWO: &str = "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u";

    #[test]
    fn weak_tokens_are_refused_and_not_shown() {
        let check = |args: &[&str], word: &str| {
            let said = config(args).unwrap_err();
            assert!(said.contains(word) && !said.contains("hunter2") && !said.contains(ONE), "{args:?}: {said}");
        };
        check(&["--admin-token", "hunter2"], "ADMIN_TOKEN has 7 bytes");
        check(&["--admin-token", "changeme-hunter2-hunter2-hunter2-hunter2"], "placeholder");
        check(&["--site-tokens", "shoes=hunter2"], "SITE_TOKENS number 1 has 7 bytes");
        check(&["--site-tokens", &format!("hats={TWO}, {ONE}=shoes")], "number 2 has 5 bytes");
        check(&["--site-tokens", "hunter2-hunter2-hunter2-hunter2-hunter2"], "site=token");
        check(&["--site-tokens", &format!("sh oes={ONE}")], "bad site");
        check(&["--site-tokens", &format!("shoes={ONE},hats={ONE}")], "number 2 is another site's");
        let same = config(&["--admin-token", ONE, "--site-tokens", &format!("shoes={ONE}")]).unwrap();
        assert_eq!(same.check(), Err(SettingsError::SameToken));
    }

    #[test]
    fn a_site_may_have_several_tokens_while_they_rotate() {
        let config = config(&["--site-tokens", &format!(" shoes={ONE}, shoes={TWO},")]).unwrap();
        assert_eq!((config.check(), config.has_tokens(), config.site_tokens().count()), (Ok(()), true, 2));
        assert!(!format!("{config:?}").contains(ONE), "{config:?}");
    }
}
