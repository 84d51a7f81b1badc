//! Session tokens, stream tickets and the tokens of reply URLs: JWTs that only edges make and read.
//!
//! - All are HS256 with `JWT_SECRET_KEY`, told apart by their audience. Nothing else is accepted, whatever a header
//!   says, and a key that was replaced stays good for reading as `JWT_SECRET_KEY_PREVIOUS`.
//! - A token never outlives its session: `exp` is at most `SESSION_MAX_AGE` after the session began.
//! - There is no leeway: only `exp` is compared with the clock, and a client renews long before that.
//! - The fingerprint is not in the token, only a keyed hash of it and the session's id.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use protocol::{MessageId, SessionId, SiteId};
use runtime::Secret;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::{
    config::Config,
    keyed::{Purpose, derive},
};

const ISSUER: &str = "frontdesk";
const SESSION: &str = "frontdesk-edge";
const TICKET: &str = "frontdesk-ticket";
const REPLY: &str = "frontdesk-reply";

/// Longest token that is looked at. Ours stay under it with 1 KiB of metadata and 1 KiB of identity.
const MAX_BYTES: usize = 4096;
/// Longest header part. Ours has 36 bytes; keys and certificates in it are not looked at.
const MAX_HEADER: usize = 128;

/// What a session was created with: it travels in the token, because edges keep no sessions.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    iss: Cow<'static, str>,
    aud: Cow<'static, str>,
    /// The session.
    pub(crate) sub: SessionId,
    pub(crate) site: SiteId,
    iat: u64,
    /// Unix seconds.
    pub(crate) exp: u64,
    jti: String,
    /// The keyed hash of the fingerprint; empty in a ticket, which needs none.
    fph: String,
    /// The parent page's origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) org: Option<String>,
    /// The create request's `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) md: Option<Box<RawValue>>,
    /// The create request's `locale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loc: Option<String>,
    /// The key that the session is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    /// The customer whom the shop vouched for: 1 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idn: Option<Box<RawValue>>,
    /// Only in a ticket: until when it is good for a reconnect, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// RFC 7800 and RFC 9449.
#[derive(Clone, Serialize, Deserialize)]
struct Confirmation {
    /// The thumbprint of the key.
    jkt: String,
}

impl Claims {
    /// The thumbprint of the key that must sign each call, if the session is bound to one.
    pub(crate) fn key(&self) -> Option<&str> {
        self.cnf.as_ref().map(|cnf| cnf.jkt.as_str())
    }
}

/// What a new token shall say.
pub(crate) struct Grant {
    pub(crate) session: SessionId,
    pub(crate) site: SiteId,
    pub(crate) origin: Option<String>,
    pub(crate) metadata: Option<Box<RawValue>>,
    pub(crate) locale: Option<String>,
    /// The thumbprint of the key that it is bound to.
    pub(crate) key: Option<String>,
    pub(crate) identity: Option<Box<RawValue>>,
}

impl From<Claims> for Grant {
    fn from(claims: Claims) -> Self {
        let Claims { sub, site, org, md, loc, cnf, idn, .. } = claims;
        let key = cnf.map(|cnf| cnf.jkt);
        Self { session: sub, site, origin: org, metadata: md, locale: loc, key, identity: idn }
    }
}

/// For which message a workflow may say more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplyKey {
    pub(crate) site: SiteId,
    pub(crate) session: SessionId,
    pub(crate) message_id: MessageId,
}

/// The token in a `reply_url`.
#[derive(Clone, Serialize, Deserialize)]
struct ReplyClaims {
    iss: Cow<'static, str>,
    aud: Cow<'static, str>,
    sub: SessionId,
    site: SiteId,
    mid: MessageId,
    exp: u64,
}

/// Why a token or ticket was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Not ours, not for this, or damaged.
    #[error("the token is not one of ours")]
    Invalid,
    /// Was ours.
    #[error("the token has expired")]
    Expired,
    /// The session is past `SESSION_MAX_AGE`.
    #[error("the session is over")]
    Ended,
    /// Shown with another fingerprint than it was made for, or none.
    #[error("the fingerprint is another one")]
    Fingerprint,
}

/// Makes and reads tokens and tickets.
pub(crate) struct Tokens {
    /// The first one signs.
    keys: Vec<Key>,
    session: Validation,
    ticket: Validation,
    reply: Validation,
    ttl: Duration,
    ticket_ttl: Duration,
    max_age: Duration,
    end_within: Duration,
}

struct Key {
    sign: EncodingKey,
    check: DecodingKey,
    fingerprints: Hmac<Sha256>,
    texts: Hmac<Sha256>,
}

impl Key {
    fn new(secret: &Secret) -> Self {
        let bytes = secret.expose().as_bytes();
        Self {
            sign: EncodingKey::from_secret(bytes),
            check: DecodingKey::from_secret(bytes),
            fingerprints: derive(secret, Purpose::Fingerprints),
            texts: derive(secret, Purpose::Texts),
        }
    }
}

/// 128 bits of the keyed hash of a session's `text`.
fn hash(mac: &Hmac<Sha256>, session: &SessionId, text: &str) -> String {
    // The id has no NUL, so no two pairs read alike.
    let mac = mac.clone().chain_update(session.as_str()).chain_update([0]).chain_update(text);
    URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..16])
}

impl Tokens {
    /// `secret` signs; the settings' previous one is still read.
    pub(crate) fn new(config: &Config, secret: &Secret) -> Self {
        let keys = std::iter::once(secret).chain(&config.jwt_secret_key_previous).map(Key::new).collect();
        let validation = |audience| {
            let mut validation = Validation::new(Algorithm::HS256);
            validation.set_issuer(&[ISSUER]);
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            // Looked at here, where tests choose the clock and the session's end goes before the token's.
            validation.validate_exp = false;
            // None of ours has one; RFC 7519 lets no token be taken before it.
            validation.validate_nbf = true;
            validation.leeway = 0;
            validation
        };
        Self {
            keys,
            session: validation(SESSION),
            ticket: validation(TICKET),
            reply: validation(REPLY),
            ttl: config.session_ttl,
            ticket_ttl: config.ticket_ttl,
            max_age: config.session_max_age,
            end_within: config.session_end_within,
        }
    }

    /// Makes a session token and tells when it expires, in Unix seconds.
    pub(crate) fn mint(&self, grant: Grant, fingerprint: &str, now: Duration) -> (String, u64) {
        let fph = hash(&self.keys[0].fingerprints, &grant.session, fingerprint);
        let exp = self.end_of(&grant.session).min((now + self.ttl).as_secs());
        let claims = Claims {
            iss: ISSUER.into(),
            aud: SESSION.into(),
            sub: grant.session,
            site: grant.site,
            iat: now.as_secs(),
            exp,
            jti: format!("{:032x}", rand::random::<u128>()),
            fph,
            org: grant.origin,
            md: grant.metadata,
            loc: grant.locale,
            cnf: grant.key.map(|jkt| Confirmation { jkt }),
            idn: grant.identity,
            until: None,
        };
        (self.sign(&claims), exp)
    }

    /// Reads a session token that was shown with `fingerprint`.
    pub(crate) fn verify(&self, token: &str, fingerprint: Option<&str>, now: Duration) -> Result<Claims, Refused> {
        self.verified(token, fingerprint, |claims| self.still_good(&claims.sub, claims.exp, now))
    }

    /// The same for who only wants the session to end: a token that is bound to a key may have expired lately.
    pub(crate) fn verify_to_end(
        &self,
        token: &str,
        fingerprint: Option<&str>,
        now: Duration,
    ) -> Result<Claims, Refused> {
        self.verified(token, fingerprint, |claims| {
            let until = claims.exp.saturating_add(self.end_within.as_secs());
            let by_proof = claims.key().is_some() && now.as_secs() < until;
            self.still_good(&claims.sub, claims.exp, now)
                .or_else(|refused| if by_proof { Ok(()) } else { Err(refused) })
        })
    }

    fn verified(
        &self,
        token: &str,
        fingerprint: Option<&str>,
        in_time: impl FnOnce(&Claims) -> Result<(), Refused>,
    ) -> Result<Claims, Refused> {
        let (claims, key): (Claims, _) = self.read(token, &self.session)?;
        in_time(&claims)?;
        let shown = fingerprint.map(|shown| hash(&key.fingerprints, &claims.sub, shown)).unwrap_or_default();
        let same: bool = shown.as_bytes().ct_eq(claims.fph.as_bytes()).into();
        // Empty is what a token without a fingerprint would have; none is made, and none may count.
        if same && !shown.is_empty() { Ok(claims) } else { Err(Refused::Fingerprint) }
    }

    /// Makes a ticket for the session of a token, and tells how long it opens new streams.
    pub(crate) fn ticket(&self, claims: &Claims, now: Duration) -> (String, Duration) {
        let exp = claims.exp.min((now + self.ticket_ttl).as_secs());
        let ticket = Claims {
            aud: TICKET.into(),
            iat: now.as_secs(),
            exp,
            jti: format!("{:032x}", rand::random::<u128>()),
            fph: String::new(),
            until: Some(claims.exp),
            ..claims.clone()
        };
        (self.sign(&ticket), Duration::from_secs(exp.saturating_sub(now.as_secs())))
    }

    /// Reads a ticket. For a reconnect it is good for as long as the token was that it was made with.
    pub(crate) fn verify_ticket(&self, ticket: &str, reconnect: bool, now: Duration) -> Result<Claims, Refused> {
        let (claims, _): (Claims, _) = self.read(ticket, &self.ticket)?;
        let until = claims.until.ok_or(Refused::Invalid)?;
        self.still_good(&claims.sub, if reconnect { until } else { claims.exp }, now)?;
        Ok(Claims { exp: until, ..claims })
    }

    /// Makes the token of a `reply_url`. It never outlives its session.
    pub(crate) fn reply_token(&self, key: ReplyKey, ttl: Duration, now: Duration) -> String {
        let exp = self.end_of(&key.session).min((now + ttl).as_secs());
        let ReplyKey { site, session, message_id } = key;
        self.sign(&ReplyClaims { iss: ISSUER.into(), aud: REPLY.into(), sub: session, site, mid: message_id, exp })
    }

    /// Reads it.
    pub(crate) fn verify_reply(&self, token: &str, now: Duration) -> Result<ReplyKey, Refused> {
        let (claims, _): (ReplyClaims, _) = self.read(token, &self.reply)?;
        self.still_good(&claims.sub, claims.exp, now)?;
        Ok(ReplyKey { site: claims.site, session: claims.sub, message_id: claims.mid })
    }

    /// A keyed fingerprint of a message's text: tells a repeat from another text without keeping either.
    pub(crate) fn digest(&self, session: &SessionId, text: &str) -> String {
        hash(&self.keys[0].texts, session, text)
    }

    /// Whether `digest` is of that text, made with any key that is good now.
    pub(crate) fn is_digest(&self, digest: &str, session: &SessionId, text: &str) -> bool {
        self.keys.iter().any(|key| hash(&key.texts, session, text) == digest)
    }

    fn sign(&self, claims: &impl Serialize) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.keys[0].sign)
            .expect("the claims are plain JSON and the key is one for HMAC")
    }

    fn read<T: DeserializeOwned + Clone>(&self, token: &str, validation: &Validation) -> Result<(T, &Key), Refused> {
        let header = token.split('.').next().unwrap_or_default();
        if token.len() > MAX_BYTES || header.len() > MAX_HEADER {
            return Err(Refused::Invalid);
        }
        for key in &self.keys {
            match jsonwebtoken::decode::<T>(token, &key.check, validation) {
                Ok(data) => return Ok((data.claims, key)),
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(_) => break,
            }
        }
        Err(Refused::Invalid)
    }

    fn still_good(&self, session: &SessionId, until: u64, now: Duration) -> Result<(), Refused> {
        if now.as_secs() >= self.end_of(session) {
            Err(Refused::Ended)
        } else if now.as_secs() >= until {
            Err(Refused::Expired)
        } else {
            Ok(())
        }
    }

    /// When a session is over whatever its tokens say, in Unix seconds.
    fn end_of(&self, session: &SessionId) -> u64 {
        session.began().saturating_add(self.max_age.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tests::config;

    const BEGAN: u64 = 1_767_168_909;
    const FINGERPRINT: &str = "0123456789abcdef";

    fn tokens() -> Tokens {
        Tokens::new(&config(&[]), &Secret::any("wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(BEGAN + seconds)
    }

    fn grant() -> Grant {
        Grant {
            session: SessionId::mint(BEGAN, 1),
            site: SiteId::new("default").unwrap(),
            origin: Some("https://shop.example".into()),
            metadata: Some(RawValue::from_string(r#"{"vip":true}"#.into()).unwrap()),
            locale: Some("en-GB".into()),
            key: None,
            identity: Some(RawValue::from_string(r#"{"sub":"c-1"}"#.into()).unwrap()),
        }
    }

    fn reply_key() -> ReplyKey {
        let Grant { site, session, .. } = grant();
        ReplyKey { site, session, message_id: MessageId::new("message-1").unwrap() }
    }

    /// What a workflow may show opens nothing of a visitor's, and the other way round; and it ends.
    #[test]
    fn a_reply_url_is_good_for_its_message_alone() {
        let (tokens, ttl) = (tokens(), Duration::from_secs(100));
        let token = tokens.reply_token(reply_key(), ttl, at(0));
        assert_eq!(tokens.verify_reply(&token, at(99)), Ok(reply_key()));
        assert_eq!(tokens.verify_reply(&token, at(100)), Err(Refused::Expired));
        assert_eq!(tokens.verify(&token, Some(FINGERPRINT), at(1)).err(), Some(Refused::Invalid));
        assert_eq!(tokens.verify_ticket(&token, true, at(1)).err(), Some(Refused::Invalid));
        assert_eq!(tokens.verify_reply(&mint(), at(1)), Err(Refused::Invalid));
        let claims = tokens.verify(&mint(), Some(FINGERPRINT), at(1)).unwrap();
        assert_eq!(tokens.verify_reply(&tokens.ticket(&claims, at(1)).0, at(1)), Err(Refused::Invalid));
        // It never outlives its session.
        let long = tokens.reply_token(reply_key(), Duration::from_secs(1_000_000), at(0));
        assert_eq!(tokens.verify_reply(&long, at(24 * 3600)), Err(Refused::Ended));
        for forged in [token.replacen('.', "x.", 1), format!("{token}x"), token[1..].to_owned(), String::new()] {
            assert_eq!(tokens.verify_reply(&forged, at(1)), Err(Refused::Invalid), "{forged}");
        }
    }

    fn mint() -> String {
        tokens().mint(grant(), FINGERPRINT, at(0)).0
    }

    fn claims_of(token: &str) -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    fn forge(header: &Value, claims: &Value, secret: &str) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed).finalize();
        let signature = URL_SAFE_NO_PAD.encode(signature.into_bytes());
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_token_says_what_the_contract_says() {
        let token = mint();
        let claims = claims_of(&token);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("frontdesk"), &json!("frontdesk-edge")));
        assert_eq!((&claims["sub"], &claims["site"]), (&json!(grant().session), &json!("default")));
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(BEGAN), &json!(BEGAN + 3600)));
        assert_eq!((&claims["org"], &claims["md"]), (&json!("https://shop.example"), &json!({"vip": true})));
        assert_eq!((claims["jti"].as_str().unwrap().len(), claims["fph"].as_str().unwrap().len()), (32, 22));
        assert!(!token.contains(FINGERPRINT) && !claims.to_string().contains(FINGERPRINT));
        let read = tokens().verify(&token, Some(FINGERPRINT), at(1)).ok().unwrap();
        assert_eq!(read.md.unwrap().get(), r#"{"vip":true}"#);
        assert_eq!(claims["idn"], json!({"sub": "c-1"}));
        assert_eq!(read.idn.unwrap().get(), r#"{"sub":"c-1"}"#);
    }

    /// With everything that a session may be created with, a token and its ticket are still read.
    #[test]
    fn the_largest_token_is_taken() {
        let object = |bytes: usize| RawValue::from_string(format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8))).ok();
        let full = Grant {
            site: SiteId::new(&"s".repeat(32)).unwrap(),
            origin: Some("o".repeat(270)),
            metadata: object(1024),
            locale: Some("l".repeat(35)),
            identity: object(1024),
            ..grant()
        };
        let (token, _) = tokens().mint(full, FINGERPRINT, at(0));
        let claims = tokens().verify(&token, Some(FINGERPRINT), at(1)).ok().unwrap();
        let (ticket, _) = tokens().ticket(&claims, at(1));
        assert!(tokens().verify_ticket(&ticket, false, at(2)).is_ok(), "{} bytes", ticket.len());
    }

    #[test]
    fn a_bound_session_stays_bound() {
        let key = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        let bound = Grant { key: Some(key.into()), ..grant() };
        let (token, _) = tokens().mint(bound, FINGERPRINT, at(0));
        assert_eq!(claims_of(&token)["cnf"], json!({"jkt": key}));
        assert!(claims_of(&mint()).get("cnf").is_none());
        let claims = tokens().verify(&token, Some(FINGERPRINT), at(1)).ok().unwrap();
        let (ticket, _) = tokens().ticket(&claims, at(1));
        assert_eq!(tokens().verify_ticket(&ticket, false, at(2)).ok().unwrap().key(), Some(key));
        let (renewed, _) = tokens().mint(claims.into(), FINGERPRINT, at(2));
        assert_eq!(claims_of(&renewed)["cnf"]["jkt"], key);
    }

    /// An expired token is good for the end of its session, for a while, and only if a proof will have to show whose it is.
    #[test]
    fn an_expired_token_ends_its_session_for_a_while() {
        const DAY: u64 = 24 * 3600;
        let bound = || tokens().mint(Grant { key: Some("thumbprint".into()), ..grant() }, FINGERPRINT, at(0)).0;
        let check = |token: &str, fingerprint: Option<&str>, seconds: u64, expected: Option<Refused>| {
            let read = tokens().verify_to_end(token, fingerprint, at(seconds));
            assert_eq!(read.err(), expected, "{fingerprint:?} {seconds}");
        };
        let (mine, over) = (Some(FINGERPRINT), 3600 + 30 * DAY);
        for seconds in [1, 3600, DAY, over - 1] {
            check(&bound(), mine, seconds, None);
            check(&bound(), Some("fedcba9876543210"), seconds, Some(Refused::Fingerprint));
            check(&bound(), None, seconds, Some(Refused::Fingerprint));
        }
        check(&bound(), mine, over, Some(Refused::Ended));
        check(&mint(), mine, 3599, None);
        check(&mint(), mine, 3600, Some(Refused::Expired));
        check(&mint(), mine, DAY, Some(Refused::Ended));
        check(&format!("{}x", bound()), mine, 1, Some(Refused::Invalid));
        let claims = tokens().verify(&bound(), mine, at(1)).unwrap();
        check(&tokens().ticket(&claims, at(1)).0, mine, 1, Some(Refused::Invalid));
    }

    #[test]
    fn time_and_fingerprint_decide() {
        let check = |fingerprint: Option<&str>, seconds, expected: Option<Refused>| {
            let read = tokens().verify(&mint(), fingerprint, at(seconds));
            assert_eq!(read.err(), expected, "{fingerprint:?} {seconds}");
        };
        check(Some(FINGERPRINT), 3599, None);
        check(Some(FINGERPRINT), 3600, Some(Refused::Expired));
        check(Some(FINGERPRINT), 86_400, Some(Refused::Ended));
        check(Some("0123456789abcdeF"), 1, Some(Refused::Fingerprint));
        check(Some(""), 1, Some(Refused::Fingerprint));
        check(None, 1, Some(Refused::Fingerprint));
    }

    #[test]
    fn a_token_ends_with_its_session() {
        let (_, exp) = tokens().mint(grant(), FINGERPRINT, at(86_000));
        assert_eq!(exp, BEGAN + 86_400);
    }

    /// Everything that is not exactly ours is refused in the same way.
    #[test]
    fn forged_tokens_are_refused() {
        let secret = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
        let header = json!({"typ": "JWT", "alg": "HS256"});
        let good = claims_of(&mint());
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            claims
        };
        let check = |what: &str, token: &str| {
            let read = tokens().verify(token, Some(FINGERPRINT), at(1)).err();
            assert_eq!(read, Some(Refused::Invalid), "{what}");
        };
        assert!(tokens().verify(&forge(&header, &good, secret), Some(FINGERPRINT), at(1)).is_ok());

        check("nothing", "");
        check("dots", "..");
        check("no dots", "abc");
        check("four parts", &format!("{}.x", mint()));
        check("another key", &forge(&header, &good, "another"));
        check("no signature", mint().rsplit_once('.').unwrap().0);
        check("an empty signature", &format!("{}.", mint().rsplit_once('.').unwrap().0));
        for alg in ["none", "None", "NONE", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", ""] {
            check(alg, &forge(&json!({"typ": "JWT", "alg": alg}), &good, secret));
        }
        let unsigned = forge(&json!({"alg": "none"}), &good, secret);
        check("unsigned", &format!("{}.", unsigned.rsplit_once('.').unwrap().0));
        check("no algorithm", &forge(&json!({"typ": "JWT"}), &good, secret));
        let jwk = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "YW5vdGhlcg"}});
        check("a key of its own", &forge(&jwk, &good, "another"));
        let long = json!({"alg": "HS256", "kid": "k".repeat(200)});
        check("a long header", &forge(&long, &good, secret));
        check("a long token", &forge(&header, &with("org", json!("x".repeat(5000))), secret));
        for name in ["iss", "aud", "sub", "exp", "iat", "jti", "fph", "site"] {
            check(name, &forge(&header, &without(name), secret));
            check(name, &forge(&header, &with(name, json!(null)), secret));
            check(name, &forge(&header, &with(name, json!({"x": 1})), secret));
        }
        check("another issuer", &forge(&header, &with("iss", json!("elsewhere")), secret));
        check("another audience", &forge(&header, &with("aud", json!("n8n")), secret));
        check("two audiences", &forge(&header, &with("aud", json!(["frontdesk-edge", "n8n"])), secret));
        check("the ticket's audience", &forge(&header, &with("aud", json!(TICKET)), secret));
        check("text for a time", &forge(&header, &with("exp", json!("9999999999")), secret));
        check("a token of the future", &forge(&header, &with("nbf", json!(9_999_999_999_u64)), secret));
        check("a negative time", &forge(&header, &with("exp", json!(-1)), secret));
        check("not a session", &forge(&header, &with("sub", json!("admin")), secret));
        let (ticket, _) = tokens().ticket(&tokens().verify(&mint(), Some(FINGERPRINT), at(1)).ok().unwrap(), at(1));
        check("a ticket", &ticket);
        for cut in 0..mint().len() {
            check("a cut token", &mint()[..cut]);
        }
    }

    #[test]
    fn a_replaced_key_is_still_read() {
        let old = mint();
        let rotated = config(&["--jwt-secret-key-previous", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a"]);
        let tokens = Tokens::new(&rotated, &Secret::any("Zx8vQw2eRt4yUi6oPa1sDf3gHj5kLz7c"));
        let claims = tokens.verify(&old, Some(FINGERPRINT), at(1)).ok().unwrap();
        assert_eq!(tokens.verify(&old, Some("another-fingerprint"), at(1)).err(), Some(Refused::Fingerprint));
        let (new, _) = tokens.mint(claims.into(), FINGERPRINT, at(2));
        assert!(tokens.verify(&new, Some(FINGERPRINT), at(3)).is_ok());
        assert_eq!(self::tokens().verify(&new, Some(FINGERPRINT), at(3)).err(), Some(Refused::Invalid));
    }

    #[test]
    fn a_ticket_opens_for_a_minute_and_reopens_for_as_long_as_the_token() {
        let claims = tokens().verify(&mint(), Some(FINGERPRINT), at(0)).ok().unwrap();
        let (ticket, good_for) = tokens().ticket(&claims, at(10));
        assert_eq!(good_for.as_secs(), 60);
        assert!(claims_of(&ticket)["fph"].as_str().unwrap().is_empty());
        let check = |reconnect, seconds, expected: Option<Refused>| {
            assert_eq!(
                tokens().verify_ticket(&ticket, reconnect, at(seconds)).err(),
                expected,
                "{reconnect} {seconds}"
            );
        };
        check(false, 69, None);
        check(false, 70, Some(Refused::Expired));
        check(true, 70, None);
        check(true, 3599, None);
        check(true, 3600, Some(Refused::Expired));
        check(true, 86_400, Some(Refused::Ended));
        assert_eq!(tokens().verify_ticket(&mint(), false, at(1)).err(), Some(Refused::Invalid));
        let (late, good_for) = tokens().ticket(&claims, at(3590));
        assert_eq!(good_for.as_secs(), 10);
        assert_eq!(tokens().verify_ticket(&late, false, at(3600)).err(), Some(Refused::Expired));
    }

    #[test]
    fn a_digest_is_of_one_session_and_text() {
        let (one, two) = (SessionId::mint(1, 1), SessionId::mint(1, 2));
        let tokens = tokens();
        assert_eq!(tokens.digest(&one, "hi"), tokens.digest(&one, "hi"));
        assert_ne!(tokens.digest(&one, "hi"), tokens.digest(&one, "ho"));
        assert_ne!(tokens.digest(&one, "hi"), tokens.digest(&two, "hi"));
    }
}
