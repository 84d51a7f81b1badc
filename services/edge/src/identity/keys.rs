//! The shop's public keys: a JWK Set (RFC 7517) with P-256 keys for ES256 and Ed25519 keys for EdDSA.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// Keys in a set at most.
pub(crate) const MAX_KEYS: usize = 32;
/// A coordinate of P-256, and a key of Ed25519.
const KEY_BYTES: usize = 32;

/// One public key. Its kind decides the algorithm, whatever a token says.
#[derive(Clone)]
pub(crate) struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    pub(crate) check: DecodingKey,
}

/// A set that was read.
#[derive(Default)]
pub(crate) struct KeySet {
    /// What it was read from.
    pub(crate) json: Vec<u8>,
    pub(crate) keys: Vec<Key>,
    /// Keys of other kinds or for other uses. RFC 7517, section 5 wants them passed over.
    pub(crate) ignored: usize,
    /// Private keys among those: whoever can read the set can sign.
    pub(crate) private: usize,
}

/// Why a document is no set of keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKeys {
    #[error("it is not a JWK Set")]
    Form(#[from] serde_json::Error),
    #[error("it has {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    d: Option<IgnoredAny>,
}

impl KeySet {
    pub(crate) fn read(json: Vec<u8>) -> Result<Self, NotKeys> {
        let document: Document = serde_json::from_slice(&json)?;
        if document.keys.len() > MAX_KEYS {
            return Err(NotKeys::TooMany(document.keys.len()));
        }
        let mut set = Self { json, ..Self::default() };
        for value in document.keys {
            set.private += usize::from(value.get("d").is_some());
            match serde_json::from_value::<Jwk>(value).ok().and_then(Key::of) {
                Some(key) => set.keys.push(key),
                None => set.ignored += 1,
            }
        }
        Ok(set)
    }

    /// The one key that a token's `alg` and `kid` lead to. Without `kid` there must be only one of the kind: trying all
    /// would make a forged token cost 32 checks.
    pub(crate) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<&Key> {
        let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
        let mut keys = self.keys.iter().filter(fits);
        keys.next().filter(|_| keys.next().is_none())
    }
}

impl Key {
    fn of(jwk: Jwk) -> Option<Self> {
        let usable = jwk.d.is_none()
            && jwk.r#use.is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        // The library takes parts of any length, and panics over some.
        let whole = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
        let (x, y) = (jwk.x.filter(|x| whole(x))?, jwk.y.filter(|y| whole(y)));
        let (algorithm, name, check) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => (Algorithm::ES256, "ES256", DecodingKey::from_ec_components(&x, &y?)),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, "EdDSA", DecodingKey::from_ed_components(&x)),
            _ => return None,
        };
        let said = jwk.alg.is_none_or(|alg| alg == name);
        if usable && said { Some(Self { id: jwk.kid, algorithm, check: check.ok()? }) } else { None }
    }
}
