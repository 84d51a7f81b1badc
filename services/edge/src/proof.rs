//! Proofs that a request was signed by the session's key, in the shape of DPoP (RFC 9449) and with one claim more.
//!
//! A proof is a JWT in the `DPoP` header, signed with ES256 by the key in its own header (`jwk`), whose thumbprint (RFC
//! 7638) the session's token names in `cnf.jkt`. It says which call it is for: method (`htm`), address (`htu`), time
//! (`iat`, [`WINDOW`] around now), token (`ath`) and body (`bh`: base64url SHA-256 of the raw body, of nothing when
//! there is none). [`check`] looks at all that the head of a request holds; what it returns still needs the body, and
//! the word of the bus that the proof is fresh. [`crate::visitor`] sees to both.
//!
//! Sizes are checked before anything is decoded, and the signature last but for the time: only who holds the key is
//! told that their clock is wrong.

use std::time::Duration;

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    EncodedPoint, FieldBytes,
    ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
};
use serde::{Deserialize, de::IgnoredAny};
use sha2::{Digest as _, Sha256};
use url::Url;
use utoipa::ToSchema;

/// How far the time of a proof may be from ours.
const WINDOW: i64 = 60;
/// Longest proof that is looked at, in bytes. A browser's has some 600.
const MAX_BYTES: usize = 4096;
/// Longest header part. One with a plain `jwk` has some 230.
const MAX_HEADER: usize = 1024;
/// A signature of 64 bytes.
const SIGNATURE: usize = 86;
/// A coordinate of 32 bytes.
const COORDINATE: usize = 43;
const MAX_URL: usize = 2048;

/// A public JWK on P-256.
#[derive(Clone, Deserialize, ToSchema)]
pub(crate) struct PublicKey {
    #[schema(example = "EC")]
    kty: String,
    #[schema(example = "P-256")]
    crv: String,
    /// 32 bytes, base64url.
    x: String,
    /// 32 bytes, base64url.
    y: String,
    /// The private key. Who shows it has none any more.
    #[schema(ignore)]
    d: Option<IgnoredAny>,
}

/// A public key that is one.
struct Key {
    verify: VerifyingKey,
    thumbprint: String,
}

/// Why a proof was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is no proof, or not for this.
    #[error("the proof does not fit")]
    Invalid,
    /// It is one, of another time.
    #[error("the proof is of another time")]
    Time,
}

/// What a proof must be about.
pub(crate) struct Wanted<'a> {
    /// The thumbprint in the token.
    pub(crate) key: &'a str,
    pub(crate) method: &'a Method,
    /// Scheme and host as the visitor sees them.
    pub(crate) base: &'a str,
    pub(crate) path: &'a str,
    pub(crate) token: &'a str,
    pub(crate) now: Duration,
}

/// A proof that fits the head of its request.
#[must_use]
pub(crate) struct Checked {
    body: String,
    hash: [u8; 32],
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
    jwk: PublicKey,
    /// Extensions that must be understood: none are.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: f64,
    ath: String,
    bh: String,
}

impl PublicKey {
    /// The thumbprint that a token names, if this is a public key on the curve.
    pub(crate) fn thumbprint(&self) -> Option<String> {
        self.read().map(|key| key.thumbprint)
    }

    fn read(&self) -> Option<Key> {
        let sizes = self.x.len() == COORDINATE && self.y.len() == COORDINATE;
        if self.kty != "EC" || self.crv != "P-256" || !sizes || self.d.is_some() {
            return None;
        }
        let coordinate = |text: &str| <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(text).ok()?).ok();
        let (x, y) = (FieldBytes::from(coordinate(&self.x)?), FieldBytes::from(coordinate(&self.y)?));
        // Fails for a point that is not on the curve.
        let verify = VerifyingKey::from_encoded_point(&EncodedPoint::from_affine_coordinates(&x, &y, false)).ok()?;
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        Some(Key { verify, thumbprint: hash(members.as_bytes()) })
    }
}

impl Checked {
    /// Whether the proof is for this body too; then the hash under which it is used up.
    pub(crate) fn of_body(&self, body: &[u8]) -> Result<&[u8; 32], Refused> {
        if self.body == hash(body) { Ok(&self.hash) } else { Err(Refused::Invalid) }
    }
}

/// Checks all but the body's hash, and that the proof is fresh.
pub(crate) fn check(proof: &str, wanted: &Wanted<'_>) -> Result<Checked, Refused> {
    let (header, claims, signature) = parts(proof).ok_or(Refused::Invalid)?;
    let signed = &proof[..header.len() + 1 + claims.len()];
    let header: Header = decode(header).ok_or(Refused::Invalid)?;
    let claims: Claims = decode(claims).ok_or(Refused::Invalid)?;
    let kind = header.typ.eq_ignore_ascii_case("dpop+jwt") && header.alg == "ES256" && header.crit.is_none();
    let call = claims.htm == wanted.method.as_str() && is_url(&claims.htu, wanted.base, wanted.path);
    if !kind || !call || !is_id(&claims.jti) || claims.ath != hash(wanted.token.as_bytes()) {
        return Err(Refused::Invalid);
    }
    let key = header.jwk.read().filter(|key| key.thumbprint == wanted.key).ok_or(Refused::Invalid)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
    let signature = signature.ok_or(Refused::Invalid)?;
    key.verify.verify(signed.as_bytes(), &signature).map_err(|_| Refused::Invalid)?;
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then far from now")]
    let iat = claims.iat.floor() as i64;
    let now = i64::try_from(wanted.now.as_secs()).unwrap_or(i64::MAX);
    if now.abs_diff(iat) > WINDOW.unsigned_abs() {
        return Err(Refused::Time);
    }
    // The thumbprint has one length, so that no two pairs read alike.
    let hash = Sha256::new().chain_update(&key.thumbprint).chain_update(&claims.jti).finalize().into();
    Ok(Checked { body: claims.bh, hash })
}

/// Header, claims and signature, if each has a size that it may have.
fn parts(proof: &str) -> Option<(&str, &str, &str)> {
    if proof.len() > MAX_BYTES {
        return None;
    }
    let mut parts = proof.split('.');
    let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let sizes = header.len() <= MAX_HEADER && signature.len() == SIGNATURE && parts.next().is_none();
    sizes.then_some((header, claims, signature))
}

/// serde takes no member twice.
fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    // It would take an array for the members in their order.
    if json.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(&json).ok()
}

/// Whether `htu` is the address of the call: query and fragment don't count, and of several ways to write an address
/// each is good (RFC 9449, 4.3). Only the claim is brought into the usual form: the path of the request is what the
/// router took, and must be equal as it stands.
fn is_url(htu: &str, base: &str, path: &str) -> bool {
    let plain = htu.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if htu.len() > MAX_URL || !plain {
        return false;
    }
    let Ok(url) = Url::parse(htu) else { return false };
    let web = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    web && url.origin().ascii_serialization() == base && url.path() == path
}

/// 8 to 128 characters of what RFC 9110 calls a token68.
fn is_id(jti: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    (8..=128).contains(&jti.len()) && jti.bytes().all(good)
}

fn hash(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use p256::ecdsa::{SigningKey, signature::Signer as _};
    use serde_json::{Value, json};

    use super::*;

    /// A browser's key pair.
    pub(crate) struct Browser(SigningKey);

    impl Browser {
        pub(crate) fn new(seed: u8) -> Self {
            Self(SigningKey::from_slice(&[seed; 32]).unwrap())
        }

        pub(crate) fn jwk(&self) -> Value {
            let point = self.0.verifying_key().to_encoded_point(false);
            let coordinate = |bytes: Option<&FieldBytes>| URL_SAFE_NO_PAD.encode(bytes.unwrap());
            json!({"kty": "EC", "crv": "P-256", "x": coordinate(point.x()), "y": coordinate(point.y())})
        }

        /// A JWT of any header and claims.
        pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
            let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", encode(header), encode(claims));
            let signature: Signature = self.0.sign(signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
        }

        pub(crate) fn header(&self) -> Value {
            json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk()})
        }

        /// A good proof.
        pub(crate) fn proof(&self, method: &str, url: &str, token: &str, body: &str) -> String {
            let jti = format!("{:032x}", rand::random::<u128>());
            let iat = crate::time::now().as_secs();
            let claims = json!({"jti": jti, "htm": method, "htu": url, "iat": iat,
                "ath": hash(token.as_bytes()), "bh": hash(body.as_bytes())});
            self.sign(&self.header(), &claims)
        }
    }

    const NOW: u64 = 1_767_168_909;
    const TOKEN: &str = "a.session.token";
    const BODY: &str = r#"{"message":"hi"}"#;

    fn browser() -> Browser {
        Browser::new(7)
    }

    fn claims() -> Value {
        json!({"jti": "0123456789abcdef", "htm": "POST", "htu": "https://chat.example/api/v1/chat/message", "iat": NOW,
            "ath": hash(TOKEN.as_bytes()), "bh": hash(BODY.as_bytes())})
    }

    fn with(mut value: Value, name: &str, new: Value) -> Value {
        match name.split_once('.') {
            Some((outer, inner)) => value[outer][inner] = new,
            None => value[name] = new,
        }
        value
    }

    fn without(mut value: Value, name: &str) -> Value {
        value.as_object_mut().unwrap().remove(name);
        value
    }

    fn key_of(jwk: &Value) -> Option<String> {
        serde_json::from_value::<PublicKey>(jwk.clone()).ok()?.thumbprint()
    }

    fn checked(proof: &str) -> Result<Checked, Refused> {
        let key = key_of(&browser().jwk()).unwrap();
        let wanted = Wanted {
            key: &key,
            method: &Method::POST,
            base: "https://chat.example",
            path: "/api/v1/chat/message",
            token: TOKEN,
            now: Duration::from_millis(NOW * 1000 + 900),
        };
        check(proof, &wanted)
    }

    #[test]
    fn a_good_proof_is_for_one_body() {
        let checked = checked(&browser().sign(&browser().header(), &claims())).ok().unwrap();
        assert!(checked.of_body(BODY.as_bytes()).is_ok());
        assert_eq!(checked.of_body(b"").err(), Some(Refused::Invalid));
        assert_eq!(checked.of_body(br#"{"message": "hi"}"#).err(), Some(Refused::Invalid));
    }

    /// RFC 7638's own example is RSA; this key and its thumbprint are those of RFC 9449.
    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"});
        assert_eq!(key_of(&jwk).as_deref(), Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
    }

    /// Of two proofs with one id the hashes are the same, of two keys or ids they are not.
    #[test]
    fn a_proof_is_used_up_by_key_and_id() {
        let hash = |claims: &Value| {
            let checked = checked(&browser().sign(&browser().header(), claims)).ok().unwrap();
            *checked.of_body(BODY.as_bytes()).unwrap()
        };
        assert_eq!(hash(&claims()), hash(&with(claims(), "iat", json!(NOW + 1))));
        assert_ne!(hash(&claims()), hash(&with(claims(), "jti", json!("0123456789abcdeF"))));
    }

    #[test]
    fn only_a_public_key_on_the_curve_is_one() {
        let check = |jwk: Value, good: bool| assert_eq!(key_of(&jwk).is_some(), good, "{jwk}");
        let good = || browser().jwk();
        check(good(), true);
        check(with(with(good(), "ext", json!(true)), "key_ops", json!(["verify"])), true);
        check(with(good(), "d", json!("AAAA")), false);
        check(with(good(), "d", json!({"x": 1})), false);
        check(with(good(), "kty", json!("RSA")), false);
        check(with(good(), "kty", json!("ec")), false);
        check(with(good(), "crv", json!("P-384")), false);
        check(with(good(), "crv", json!("secp256k1")), false);
        check(with(good(), "x", Browser::new(8).jwk()["x"].clone()), false);
        check(with(good(), "y", json!("A".repeat(43))), false);
        check(with(with(good(), "x", json!("A".repeat(43))), "y", json!("A".repeat(43))), false);
        check(with(good(), "x", json!("_".repeat(43))), false);
        check(with(good(), "x", json!("x")), false);
        check(with(good(), "x", json!(format!("{}=", good()["x"].as_str().unwrap()))), false);
        check(with(good(), "x", json!("x".repeat(10_000))), false);
        check(with(good(), "x", json!(5)), false);
        check(without(good(), "y"), false);
        check(json!({"kty": "oct", "k": "AAAA"}), false);
    }

    /// Whatever is wrong, the answer is the same.
    #[test]
    fn forged_proofs_are_refused() {
        let check = |what: &str, proof: &str| assert_eq!(checked(proof).err(), Some(Refused::Invalid), "{what}");
        let browser = browser();
        let good = browser.sign(&browser.header(), &claims());
        assert!(checked(&good).is_ok());

        check("nothing", "");
        check("dots", "..");
        check("two parts", good.rsplit_once('.').unwrap().0);
        check("four parts", &format!("{good}.x"));
        check("five parts", &format!("{good}.x.y"));
        check("a space", &format!("{good} "));
        check("padding", &format!("{good}="));
        check("too long", &browser.sign(&browser.header(), &with(claims(), "x", json!("x".repeat(5000)))));
        check("a long header", &browser.sign(&with(browser.header(), "x", json!("x".repeat(1000))), &claims()));
        for cut in 0..good.len() {
            check("a cut one", &good[..cut]);
        }
        let (signed, signature) = good.rsplit_once('.').unwrap();
        check("another signature", &format!("{signed}.{}", "A".repeat(86)));
        check("the highest signature", &format!("{signed}.{}", "_".repeat(85) + "w"));
        // The last character holds two bits of the signature and four that must be zero.
        let last = signature.chars().last().unwrap();
        let other = char::from(u8::try_from(last).unwrap() + 1);
        check("other tail bits", &format!("{signed}.{}{other}", &signature[..85]));
        let edited = browser.sign(&browser.header(), &with(claims(), "htm", json!("GET")));
        check("a signature of others' claims", &format!("{signed}.{}", edited.rsplit_once('.').unwrap().1));

        let header = |name: &str, value: Value| browser.sign(&with(browser.header(), name, value), &claims());
        for alg in ["none", "None", "HS256", "RS256", "PS256", "ES384", "ES512", "EdDSA", "es256", ""] {
            check(alg, &header("alg", json!(alg)));
        }
        for typ in ["JWT", "dpop", "at+jwt", "application/dpop+jwt", ""] {
            check(typ, &header("typ", json!(typ)));
        }
        check("an extension", &header("crit", json!(["b64"])));
        check("a private key", &header("jwk.d", json!("AAAA")));
        check("another key's name", &header("jwk", Browser::new(8).jwk()));
        check("another key", &Browser::new(8).sign(&Browser::new(8).header(), &claims()));
        check("a key for HMAC", &header("jwk", json!({"kty": "oct", "k": "AAAA"})));
        check("a point off the curve", &header("jwk.y", json!("A".repeat(43))));
        for name in ["typ", "alg", "jwk"] {
            check(name, &browser.sign(&without(browser.header(), name), &claims()));
        }

        let claim = |name: &str, value: Value| browser.sign(&browser.header(), &with(claims(), name, value));
        for name in ["jti", "htm", "htu", "iat", "ath", "bh"] {
            check(name, &browser.sign(&browser.header(), &without(claims(), name)));
            check(name, &claim(name, json!(null)));
            check(name, &claim(name, json!({"x": 1})));
        }
        check("another method", &claim("htm", json!("GET")));
        check("a small method", &claim("htm", json!("post")));
        check("another token", &claim("ath", json!(hash(b"another"))));
        check("text for a time", &claim("iat", json!(NOW.to_string())));
        for jti in ["", "1234567", "has spaces", "a\u{0}bcdefgh", "ünïcödé!", &"x".repeat(129)] {
            check("an id", &claim("jti", json!(jti)));
        }
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let text = claims().to_string();
        let twice = text.replacen('{', r#"{"htm":"POST","#, 1);
        let raw = |claims: &str| {
            let signed = format!("{}.{}", encode(&browser.header().to_string()), encode(claims));
            let signature: Signature = browser.0.sign(signed.as_bytes());
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
        };
        assert!(checked(&raw(&text)).is_ok());
        check("a claim twice", &raw(&twice));
        check("an array", &raw(r#"["0123456789abcdef","POST","https://chat.example/",1,"",""]"#));
        check("no JSON", &raw("x"));
        check("deep JSON", &raw(&"[".repeat(2000)));
    }

    #[test]
    fn the_time_is_told_to_who_holds_the_key() {
        let check = |iat: Value, expected: Option<Refused>| {
            let proof = browser().sign(&browser().header(), &with(claims(), "iat", iat.clone()));
            assert_eq!(checked(&proof).err(), expected, "{iat}");
        };
        check(json!(NOW - 60), None);
        check(json!(NOW + 60), None);
        check(json!(NOW - 61), Some(Refused::Time));
        check(json!(NOW + 61), Some(Refused::Time));
        check(json!(0), Some(Refused::Time));
        check(json!(-1), Some(Refused::Time));
        check(json!(1e300), Some(Refused::Time));
        check(json!(NOW * 1000), Some(Refused::Time));
        // Some clients' seconds have fractions.
        check(json!(1_767_168_909.5), None);
        let other = Browser::new(8);
        let stranger = other.sign(&browser().header(), &with(claims(), "iat", json!(0)));
        assert_eq!(checked(&stranger).err(), Some(Refused::Invalid));
    }

    #[test]
    fn an_address_has_many_ways_and_one_meaning() {
        let check = |htu: &str, expected: bool| {
            let same = is_url(htu, "https://chat.example", "/api/v1/chat/message");
            assert_eq!(same, expected, "{htu}");
        };
        check("https://chat.example/api/v1/chat/message", true);
        check("HTTPS://Chat.Example:443/api/v1/chat/message", true);
        check("https://chat.example/api/v1/chat/message?a=b#c", true);
        check("https://chat.example/api/v1/./x/../chat/message", true);
        check("http://chat.example/api/v1/chat/message", false);
        check("https://chat.example:8443/api/v1/chat/message", false);
        check("https://chat.example.evil.example/api/v1/chat/message", false);
        check("https://user@chat.example/api/v1/chat/message", false);
        check("https://user:pass@chat.example/api/v1/chat/message", false);
        check("https://chat.example/api/v1/chat/message/", false);
        check("https://chat.example//api/v1/chat/message", false);
        check("https://chat.example/api/v1/chat/Message", false);
        check("https://chat.example/api/v1/chat%2fmessage", false);
        check("https://chat.example\\api\\v1\\chat\\message", false);
        check("https://chat.example/api/v1/chat/mes\tsage", false);
        check(" https://chat.example/api/v1/chat/message", false);
        check("//chat.example/api/v1/chat/message", false);
        check("/api/v1/chat/message", false);
        check("", false);
        check(&format!("https://chat.example/api/v1/chat/message?{}", "x".repeat(3000)), false);
        // A request's own path counts as it stands.
        assert!(!is_url("https://chat.example/api", "https://chat.example", "/x/../api"));
        assert!(!is_url("https://chat.example/api", "https://chat.example", "//api"));
        assert!(is_url("http://[::1]:8000/api", "http://[::1]:8000", "/api"));
        assert!(!is_url("https:///api", "https://", "/api"));
    }
}
