//! Settings about customers whom the shop's own server vouches for.

use std::{path::PathBuf, time::Duration};

use runtime::{Secret, secret, settings::some_time};
use url::{Host, Url};

/// Who may vouch for customers, and what of it is taken.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Identity {
    /// Whether visitors can show who they are by an `identity_token` that the shop's server signed: off, optional, or
    /// required (nobody else gets a session).
    #[arg(id = "identity", long = "identity", env = "IDENTITY", default_value = "optional", value_enum)]
    pub mode: Mode,
    /// The secret that the shop's server signs identity tokens with (HS256); 32 bytes or more.
    #[arg(
        id = "identity_secret",
        long = "identity-secret",
        env = "IDENTITY_SECRET",
        hide_env_values = true,
        value_parser = secret::Hidden(secret::strong)
    )]
    pub secret: Option<Secret>,
    /// The shop's public keys for identity tokens (ES256, EdDSA) as a JWK Set: an https URL, or a file.
    #[arg(id = "identity_jwks", long = "identity-jwks", env = "IDENTITY_JWKS", value_parser = jwks)]
    pub jwks: Option<JwksSource>,
    /// How often the JWK Set is read again.
    #[arg(
        id = "identity_jwks_refresh",
        long = "identity-jwks-refresh",
        env = "IDENTITY_JWKS_REFRESH",
        default_value = "10m",
        value_parser = some_time
    )]
    pub jwks_refresh: Duration,
    /// What `iss` of an identity token must be. Default: it is not looked at.
    #[arg(id = "identity_issuer", long = "identity-issuer", env = "IDENTITY_ISSUER")]
    pub issuer: Option<String>,
    /// Claims of an identity token that are handed on, next to `sub`.
    #[arg(
        id = "identity_claims",
        long = "identity-claims",
        env = "IDENTITY_CLAIMS",
        default_value = "name,email,customer_id,order_scope,locale",
        value_parser = claims
    )]
    pub claims: ClaimNames,
}

/// See [`Identity::mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Every visitor is anonymous.
    Off,
    /// A visitor without a good token is anonymous.
    Optional,
    /// A visitor without a good token is refused.
    Required,
}

/// Where a JWK Set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// https, or http on this machine.
    Url(Url),
    /// A file.
    File(PathBuf),
}

/// Names of claims, as one setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimNames(pub Vec<String>);

const MAX_CLAIMS: usize = 32;
const MAX_NAME: usize = 64;
/// They are about the token, not about the customer; `sub` always goes along.
const RESERVED: [&str; 7] = ["sub", "iss", "aud", "exp", "nbf", "iat", "jti"];

fn jwks(text: &str) -> Result<JwksSource, String> {
    if !text.contains("://") {
        return Ok(JwksSource::File(PathBuf::from(text)));
    }
    let bad = || "write an https:// address (http:// only on this machine) or a file's path".to_owned();
    let url = Url::parse(text).map_err(|_| bad())?;
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(bad()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("public keys need no user and no password in their address".to_owned());
    }
    // Whoever is on the way could put keys of their own into an answer that came in the clear.
    match url.scheme() {
        "https" => Ok(JwksSource::Url(url)),
        "http" if here => Ok(JwksSource::Url(url)),
        _ => Err(bad()),
    }
}

fn claims(text: &str) -> Result<ClaimNames, String> {
    let name = |name: &str| {
        if RESERVED.contains(&name) {
            return Err(format!("`{name}` is no claim about a customer (`sub` is always handed on)"));
        }
        let good = name.len() <= MAX_NAME && name.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(name.to_owned()) } else { Err(format!("a claim's name has 1 to {MAX_NAME} visible characters")) }
    };
    let names = super::list(text, name)?;
    if names.len() > MAX_CLAIMS { Err(format!("name {MAX_CLAIMS} claims at most")) } else { Ok(ClaimNames(names)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_a_file_or_come_in_private() {
        let check = |text: &str, good: bool| assert_eq!(jwks(text).is_ok(), good, "{text}");
        check("https://shop.example/.well-known/jwks.json", true);
        check("http://127.0.0.1:8080/jwks.json", true);
        check("http://[::1]:8080/jwks.json", true);
        check("http://localhost/jwks.json", true);
        check("http://shop.example/jwks.json", false);
        check("http://10.0.0.1/jwks.json", false);
        check("http://localhost.shop.example/jwks.json", false);
        check("https://me:secret@shop.example/jwks.json", false);
        check("ftp://shop.example/jwks.json", false);
        check("file:///etc/frontdesk/jwks.json", false);
        assert_eq!(jwks("/etc/frontdesk/jwks.json"), Ok(JwksSource::File("/etc/frontdesk/jwks.json".into())));
        assert_eq!(jwks("jwks.json"), Ok(JwksSource::File("jwks.json".into())));
    }

    #[test]
    fn claims_have_names_of_their_own() {
        let check = |text: &str, expected: Option<usize>| {
            assert_eq!(claims(text).ok().map(|names| names.0.len()), expected, "{text}");
        };
        check("name, email", Some(2));
        check("https://shop.example/tier", Some(1));
        check("", Some(0));
        check("name,sub", None);
        check("exp", None);
        check("first name", None);
        check("näme", None);
        check(&"x".repeat(64), Some(1));
        check(&"x".repeat(65), None);
        let many = |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",");
        check(&many(32), Some(32));
        check(&many(33), None);
    }
}
