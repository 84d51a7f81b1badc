//! The visitor's token in each request to n8n: who speaks, signed, good for a minute.
//!
//! A workflow checks it with n8n's JWT node (HS256, `SESSION_SECRET_KEY` as the passphrase), so that a leaked webhook
//! URL alone lets nobody pose as a visitor.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::{Message, Millis, Turn};
use runtime::Secret;
use serde::Serialize;
use serde_json::value::RawValue;

const ISSUER: &str = "frontdesk";
const AUDIENCE: &str = "n8n";

/// Signs tokens.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    lifetime: Duration,
}

impl Signer {
    /// A signer with this secret, whose tokens live this long.
    pub fn new(secret: &Secret, lifetime: Duration) -> Self {
        Self { key: EncodingKey::from_secret(secret.expose().as_bytes()), lifetime }
    }

    /// The token for a message that is sent at `now`.
    pub fn sign(&self, message: &Message, now: Millis) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.0.div_euclid(1000);
        let claims = Claims {
            session_id: message.session.as_str(),
            timestamp: rfc3339(now),
            message_history: &message.history,
            session_metadata: message.metadata.as_deref().map_or(Metadata::None {}, Metadata::Some),
            exp: iat.saturating_add(i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX)),
            iat,
            iss: ISSUER,
            aud: AUDIENCE,
            jti: message.message_id.as_str(),
            site: message.site.as_str(),
            origin: message.origin.as_deref(),
            identity: message.identity.as_deref(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
    }
}

/// Key and all, so nothing is shown.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(***)")
    }
}

/// RFC 3339 in UTC with milliseconds, as all times of the HTTP contract.
pub(crate) fn rfc3339(at: Millis) -> String {
    // A time outside the years that jiff knows can only be a broken clock's; the epoch shows it.
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    format!("{at:.3}")
}

/// The names, and that `session_metadata` and `message_history` are never absent, are what workflows of the Python
/// predecessor read.
#[derive(Serialize)]
struct Claims<'a> {
    session_id: &'a str,
    timestamp: String,
    message_history: &'a [Turn],
    session_metadata: Metadata<'a>,
    exp: i64,
    iat: i64,
    iss: &'static str,
    aud: &'static str,
    jti: &'a str,
    site: &'a str,
    origin: Option<&'a str>,
    identity: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Metadata<'a> {
    None {},
    Some(&'a RawValue),
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";

    fn claims(message: &Value, now: Millis) -> Value {
        let message: Message = serde_json::from_value(message.clone()).unwrap();
        let token = Signer::new(&Secret::any(SECRET), Duration::from_secs(60)).sign(&message, now).unwrap();
        let mut strict = Validation::new(Algorithm::HS256);
        strict.set_audience(&["n8n"]);
        strict.set_issuer(&["frontdesk"]);
        // The times of the tests are fixed, long ago.
        strict.validate_exp = false;
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        jsonwebtoken::decode::<Value>(&token, &key, &strict).unwrap().claims
    }

    #[test]
    fn claims_are_those_of_the_contract() {
        let check = |message: Value, expected: Value| assert_eq!(claims(&message, Millis(1_704_110_400_250)), expected);
        let plain = json!({"v":1,"site":"default","session":"sess_1767168909_9f86d081884c7d65","message_id":"msg-0001",
            "text":"hi","digest":"x","accepted_at":1_704_110_399_000_i64});
        let mut expected = json!({"session_id":"sess_1767168909_9f86d081884c7d65",
            "timestamp":"2024-01-01T12:00:00.250Z","message_history":[],
            "session_metadata":{},"exp":1_704_110_460,"iat":1_704_110_400,"iss":"frontdesk",
            "aud":"n8n","jti":"msg-0001","site":"default","origin":null,"identity":null});
        check(plain.clone(), expected.clone());

        let mut full = plain;
        full["history"] = json!([{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"}]);
        full["metadata"] = json!({"plan":"pro"});
        full["identity"] = json!({"sub":"c-1"});
        full["origin"] = json!("https://shop.example");
        for key in ["metadata", "identity", "origin"] {
            expected[if key == "metadata" { "session_metadata" } else { key }] = full[key].clone();
        }
        expected["message_history"] = full["history"].clone();
        check(full, expected);
    }

    /// What the browser says about itself is never the identity, whatever it calls it.
    #[test]
    fn only_the_shop_says_who_it_is() {
        let message = json!({"v":1,"site":"default","session":"sess_1767168909_9f86d081884c7d65","message_id":"msg-0001",
            "text":"{\"identity\":{\"sub\":\"a\"}}","digest":"x","accepted_at":1_704_110_399_000_i64,
            "metadata":{"identity":{"sub":"b"}},"context":{"identity":{"sub":"c"}},
            "history":[{"role":"user","content":"\"identity\":{\"sub\":\"d\"}"}]});
        let claims = claims(&message, Millis(1_704_110_400_000));
        assert_eq!(claims["identity"], Value::Null);
        assert_eq!(claims["session_metadata"], message["metadata"], "a claim, under the name of one");
    }

    #[test]
    fn times_have_milliseconds_even_when_they_are_zero() {
        let check = |millis: i64, expected: &str| assert_eq!(rfc3339(Millis(millis)), expected);
        check(1_704_110_400_000, "2024-01-01T12:00:00.000Z");
        check(1_704_110_400_999, "2024-01-01T12:00:00.999Z");
        check(0, "1970-01-01T00:00:00.000Z");
        check(i64::MAX, "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_signer_never_prints_its_key() {
        assert_eq!(format!("{:?}", Signer::new(&Secret::any(SECRET), Duration::ZERO)), "Signer(***)");
    }
}
