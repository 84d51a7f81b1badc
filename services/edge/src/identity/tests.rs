//! What an identity token may look like, and what not.

use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;
use crate::tests::config;

const NOW: u64 = 1_767_168_909;
const SECRET: &str = "Lk8pQz3sVt6xCw1nBy4mHd7gRf2jTa5e";

/// A key pair of the tests, and of nobody else.
struct Pair {
    private: &'static str,
    jwk: &'static str,
    algorithm: Algorithm,
}

const EC: Pair = Pair {
    private: "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtrwzyDypoTE258VY0jxEFJC3q4QG1wCXjJM-nTIXoEuhRANCAASDlH_8y\
              GxW1E1Zu9VI6yQ37ZP-X4_V93m_moCS6N5ih6QjL6RCb-rAfWrRi8XXozB9jzyKIFnFP45lLj0c08kg",
    jwk: r#"{"kty":"EC","crv":"P-256","x":"g5R__MhsVtRNWbvVSOskN-2T_l-P1fd5v5qAkujeYoc","y":"pCMvpEJv6sB9atGLxdejMH2PPIogWcU_jmUuPRzTySA"}"#,
    algorithm: Algorithm::ES256,
};
const OTHER_EC: Pair = Pair {
    private: "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsUgA44As_YeUO65DmATrcoDKQv1mnaonk38_eFLMg4KhRANCAARQme-eC\
              y4LpyXXAUmCFLwS1J-0qlln78OApCDitNDfDKgFWu1_hahvrDW55ehtlohT2A2q0THcUxj6pkVuV63Y",
    jwk: r#"{"kty":"EC","crv":"P-256","x":"UJnvngsuC6cl1wFJghS8EtSftKpZZ-_DgKQg4rTQ3ww","y":"qAVa7X-FqG-sNbnl6G2WiFPYDarRMdxTGPqmRW5Xrdg"}"#,
    algorithm: Algorithm::ES256,
};
const ED: Pair = Pair {
    private: "MC4CAQAwBQYDK2VwBCIEICWNFlT7hY0azlg7RfsCNCcPqvvo6-trekd7TmOGruRL",
    jwk: r#"{"kty":"OKP","crv":"Ed25519","x":"41QIT6xpaGxONH1Oto0GfBs02OjkbJsddcjsCYM8MNQ"}"#,
    algorithm: Algorithm::EdDSA,
};

impl Pair {
    fn sign(&self, header: &Value, claims: &str) -> String {
        let der = URL_SAFE_NO_PAD.decode(self.private).unwrap();
        let key = match self.algorithm {
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_ec_der(&der),
        };
        signed(header, claims, &key, self.algorithm)
    }

    /// The public key, with more members.
    fn public(&self, more: &Value) -> Value {
        let mut jwk: Value = serde_json::from_str(self.jwk).unwrap();
        jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        jwk
    }
}

fn signed(header: &Value, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn hs256(header: &Value, claims: &str, secret: &[u8]) -> String {
    signed(header, claims, &EncodingKey::from_secret(secret), Algorithm::HS256)
}

fn header(algorithm: &str) -> Value {
    json!({"typ": "JWT", "alg": algorithm})
}

fn good() -> Value {
    json!({"sub": "c-1", "aud": "default", "exp": NOW + 300, "iat": NOW, "name": "Ada"})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn by_secret(more: &[&str]) -> Verifier {
    let mut args = vec!["--identity-secret", SECRET];
    args.extend(more);
    Verifier::new(&config(&args)).unwrap()
}

/// A file with these keys.
fn key_file(keys: &[Value]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({"keys": keys}).to_string()).unwrap();
    file
}

fn by_keys(keys: &[Value]) -> Verifier {
    let file = key_file(keys);
    Verifier::new(&config(&["--identity-jwks", file.path().to_str().unwrap()])).unwrap()
}

fn read(verifier: &Verifier, token: &str) -> Result<String, Refused> {
    let now = Duration::from_millis(NOW * 1000 + 500);
    verifier.verify(token, &SiteId::new("default").unwrap(), now).map(|identity| identity.get().to_owned())
}

const ADA: &str = r#"{"name":"Ada","sub":"c-1"}"#;

/// The shop's secret signs who is who, and for how long.
#[test]
fn claims_decide() {
    let check = |claims: Value, expected: Result<&str, Refused>| {
        let token = hs256(&header("HS256"), &claims.to_string(), SECRET.as_bytes());
        assert_eq!(read(&by_secret(&[]), &token), expected.map(str::to_owned), "{claims}");
    };
    check(good(), Ok(ADA));
    check(with("role", json!("admin")), Ok(ADA));
    check(with("jti", json!("once")), Ok(ADA));
    check(with("sid", json!(5)), Ok(ADA));

    check(with("sub", json!("x".repeat(128))), Ok(&format!(r#"{{"name":"Ada","sub":"{}"}}"#, "x".repeat(128))));
    for sub in [json!("x".repeat(129)), json!(""), json!(5), json!(null), json!(["c-1"]), json!({}), json!("a\u{0}")] {
        check(with("sub", sub), Err(Refused::Invalid));
    }
    check(without("sub"), Err(Refused::Invalid));

    check(with("aud", json!(["n8n", "default"])), Ok(ADA));
    for aud in [
        json!("Default"),
        json!(""),
        json!(["n8n"]),
        json!([]),
        json!([["default"]]),
        json!(["default", 5]),
        json!({"default": true}),
        json!(null),
    ] {
        check(with("aud", aud), Err(Refused::WrongAudience));
    }
    check(without("aud"), Err(Refused::WrongAudience));

    check(without("iat"), Ok(ADA));
    check(without("exp"), Err(Refused::Invalid));
    for exp in [json!("soon"), json!(null), json!((NOW + 300).to_string()), json!([NOW])] {
        check(with("exp", exp), Err(Refused::Invalid));
    }
    check(with("exp", json!(NOW)), Err(Refused::Expired));
    check(with("exp", json!(NOW + 1)), Ok(ADA));
    check(with("exp", json!(0)), Err(Refused::Expired));
    check(with("exp", json!(-1)), Err(Refused::Expired));
    check(with("exp", json!(NOW as f64 + 0.75)), Ok(ADA));
    check(with("exp", json!(NOW + 600)), Ok(ADA));
    check(with("exp", json!(NOW + 601)), Err(Refused::TooLongLived));
    check(with("exp", json!(NOW + 660)), Err(Refused::TooLongLived));
    check(with("exp", json!((NOW + 300) * 1000)), Err(Refused::TooLongLived));
    check(with("exp", json!(1e300)), Err(Refused::TooLongLived));
    check(with("iat", json!(NOW - 300)), Ok(ADA));
    check(with("iat", json!(NOW - 301)), Err(Refused::TooLongLived));

    for name in ["nbf", "iat"] {
        check(with(name, json!(NOW + 30)), Ok(ADA));
        check(with(name, json!(NOW + 31)), Err(Refused::NotYetValid));
        check(with(name, json!(NOW * 1000)), Err(Refused::NotYetValid));
        check(with(name, json!("now")), Err(Refused::Invalid));
    }
    // Long claims are left out; a token that is too large is not looked at.
    check(with("name", json!("x".repeat(2000))), Ok(r#"{"sub":"c-1"}"#));
    check(with("name", json!("x".repeat(4000))), Err(Refused::Invalid));
}

#[test]
fn an_issuer_is_compared_where_one_is_set() {
    let check = |set: &[&str], iss: Value, expected: Result<&str, Refused>| {
        let token = hs256(&header("HS256"), &with("iss", iss.clone()).to_string(), SECRET.as_bytes());
        assert_eq!(read(&by_secret(set), &token), expected.map(str::to_owned), "{set:?} {iss}");
    };
    let set = ["--identity-issuer", "https://shop.example"];
    check(&set, json!("https://shop.example"), Ok(ADA));
    check(&set, json!("https://shop.example/"), Err(Refused::Invalid));
    check(&set, json!(["https://shop.example"]), Err(Refused::Invalid));
    check(&set, json!(null), Err(Refused::Invalid));
    check(&[], json!("anybody"), Ok(ADA));
    let none = hs256(&header("HS256"), &good().to_string(), SECRET.as_bytes());
    assert_eq!(read(&by_secret(&set), &none), Err(Refused::Invalid));
}

#[test]
fn the_operator_chooses_the_claims() {
    let token = hs256(&header("HS256"), &with("tier", json!(["gold"])).to_string(), SECRET.as_bytes());
    assert_eq!(read(&by_secret(&["--identity-claims", "tier"]), &token).unwrap(), r#"{"sub":"c-1","tier":["gold"]}"#);
    assert_eq!(read(&by_secret(&["--identity-claims", ""]), &token).unwrap(), r#"{"sub":"c-1"}"#);
}

/// Everything that the shop did not sign is refused in the same way.
#[test]
fn forged_tokens_are_refused() {
    let good = good().to_string();
    let real = hs256(&header("HS256"), &good, SECRET.as_bytes());
    let check = |what: &str, token: &str| {
        assert_eq!(read(&by_secret(&[]), token), Err(Refused::Invalid), "{what}");
    };
    assert!(read(&by_secret(&[]), &real).is_ok());

    for text in ["", ".", "..", "...", "abc", "a.b.c", "\u{e9}.\u{e9}.\u{e9}", "{}.{}.{}"] {
        check(text, text);
    }
    check("four parts", &format!("{real}.x"));
    check("another secret", &hs256(&header("HS256"), &good, b"another"));
    check("no secret", &hs256(&header("HS256"), &good, b""));
    for alg in ["none", "None", "NONE", "nOnE", "none ", ""] {
        let unsigned = hs256(&header(alg), &good, SECRET.as_bytes());
        let (message, _) = unsigned.rsplit_once('.').unwrap();
        check(alg, &unsigned);
        check(alg, message);
        check(alg, &format!("{message}."));
    }
    for alg in ["HS384", "HS512", "RS256", "PS256", "ES256", "ES384", "EdDSA", "hs256", "HS256\u{0}"] {
        check(alg, &hs256(&header(alg), &good, SECRET.as_bytes()));
    }
    check("no algorithm", &hs256(&json!({"typ": "JWT"}), &good, SECRET.as_bytes()));
    check("an algorithm that is no text", &hs256(&json!({"alg": ["HS256"]}), &good, SECRET.as_bytes()));
    check("a header that is no object", &hs256(&json!(["HS256"]), &good, SECRET.as_bytes()));
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    check("an extension", &hs256(&critical, &good, SECRET.as_bytes()));
    let own = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": "YW5vdGhlcg"}, "jku": "https://evil.example/"});
    check("a key of its own", &hs256(&own, &good, b"another"));
    check("a signature of a key pair", &EC.sign(&header("ES256"), &good));
    check("the same, said to be HS256", &EC.sign(&header("HS256"), &good));
    for kid in ["../../../../dev/null", "' OR 1=1 --", "https://evil.example/key", "\u{0}", &"k".repeat(10_000)] {
        check(kid, &hs256(&json!({"alg": "HS256", "kid": kid}), &good, b""));
    }
    let twice = r#"{"sub":"c-1","sub":"admin","aud":"default","exp":1767169209}"#;
    check("a claim twice", &hs256(&header("HS256"), twice, SECRET.as_bytes()));
    let twice = r#"{"sub":"c-1","aud":"default","exp":1767169209,"name":"Ada","name":"Bob"}"#;
    check("any claim twice", &hs256(&header("HS256"), twice, SECRET.as_bytes()));
    let deep =
        format!(r#"{{"sub":"c-1","aud":"default","exp":1767169209,"x":{}1{}}}"#, "[".repeat(900), "]".repeat(900));
    check("a deep claim", &hs256(&header("HS256"), &deep, SECRET.as_bytes()));
    for text in ["[]", "null", "5", "\"c-1\"", "", "{"] {
        check(text, &hs256(&header("HS256"), text, SECRET.as_bytes()));
    }
    for cut in 0..real.len() {
        check("a cut token", &real[..cut]);
    }
    // The last sign of the signature holds two bits that say nothing; no other spelling counts.
    let (head, last) = real.split_at(real.len() - 1);
    for other in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=".chars() {
        if !last.starts_with(other) {
            check("another last sign", &format!("{head}{other}"));
        }
    }
}

/// The kind of the key decides the algorithm: a public key is never a secret.
#[test]
fn keys_are_used_for_what_they_are() {
    let verifier = by_keys(&[EC.public(&json!({})), ED.public(&json!({}))]);
    let good = good().to_string();
    let check = |what: &str, token: &str, expected: Result<&str, Refused>| {
        assert_eq!(read(&verifier, token), expected.map(str::to_owned), "{what}");
    };
    check("ES256", &EC.sign(&header("ES256"), &good), Ok(ADA));
    check("EdDSA", &ED.sign(&header("EdDSA"), &good), Ok(ADA));
    check("another pair", &OTHER_EC.sign(&header("ES256"), &good), Err(Refused::Invalid));
    check("ES256, said to be EdDSA", &EC.sign(&header("EdDSA"), &good), Err(Refused::Invalid));
    check("EdDSA, said to be ES256", &ED.sign(&header("ES256"), &good), Err(Refused::Invalid));
    check("ES256, said to be ES384", &EC.sign(&header("ES384"), &good), Err(Refused::Invalid));
    check("ES256, said to be none", &EC.sign(&header("none"), &good), Err(Refused::Invalid));

    let jwk: Value = serde_json::from_str(EC.jwk).unwrap();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let point = [vec![4], part("x"), part("y")].concat();
    // As openssl writes it: a fixed head for P-256, and the point.
    let der = [URL_SAFE_NO_PAD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE").unwrap(), part("x"), part("y")].concat();
    let pem = base64::engine::general_purpose::STANDARD.encode(&der);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &pem[..64], &pem[64..]);
    let secrets: [&[u8]; 6] = [EC.jwk.as_bytes(), &part("x"), &point, &der, pem.as_bytes(), pem.trim().as_bytes()];
    for secret in secrets {
        for alg in ["HS256", "ES256", "EdDSA"] {
            check("the public key as a secret", &hs256(&header(alg), &good, secret), Err(Refused::Invalid));
        }
    }
    // Without a secret of the settings nothing is HS256, whatever it was signed with.
    check("HS256", &hs256(&header("HS256"), &good, SECRET.as_bytes()), Err(Refused::Invalid));
}

/// While a shop moves from a secret to keys, both count, each for its own.
#[test]
fn a_secret_and_keys_stand_side_by_side() {
    let file = key_file(&[EC.public(&json!({}))]);
    let verifier = by_secret(&["--identity-jwks", file.path().to_str().unwrap()]);
    let good = good().to_string();
    assert!(read(&verifier, &EC.sign(&header("ES256"), &good)).is_ok());
    assert!(read(&verifier, &hs256(&header("HS256"), &good, SECRET.as_bytes())).is_ok());
    assert_eq!(read(&verifier, &hs256(&header("HS256"), &good, EC.jwk.as_bytes())), Err(Refused::Invalid));
}

#[test]
fn a_key_is_found_by_its_name() {
    let named = |pair: &Pair, kid: &str| pair.public(&json!({"kid": kid}));
    let verifier = by_keys(&[named(&EC, "old"), named(&OTHER_EC, "new"), named(&ED, "new")]);
    let good = good().to_string();
    let check = |pair: &Pair, kid: Value, expected: Option<Refused>| {
        let alg = if pair.algorithm == Algorithm::EdDSA { "EdDSA" } else { "ES256" };
        let token = pair.sign(&json!({"alg": alg, "kid": kid}), &good);
        assert_eq!(read(&verifier, &token).err(), expected, "{alg} {kid}");
    };
    check(&EC, json!("old"), None);
    check(&OTHER_EC, json!("new"), None);
    check(&ED, json!("new"), None);
    check(&EC, json!("new"), Some(Refused::Invalid));
    check(&EC, json!("older"), Some(Refused::UnknownKey));
    check(&ED, json!("old"), Some(Refused::UnknownKey));
    check(&EC, json!(null), Some(Refused::UnknownKey));
    check(&ED, json!(null), None);
    check(&EC, json!(5), Some(Refused::Invalid));
    for odd in ["", "../../../../dev/null", "'", "\"", "https://evil.example/key", "OLD", "old\u{0}"] {
        check(&EC, json!(odd), Some(Refused::UnknownKey));
    }
    check(&EC, json!("k".repeat(10_000)), Some(Refused::Invalid));
    // What else the header tells is not for us.
    let header = json!({"alg": "ES256", "kid": "new", "jwk": OTHER_EC.public(&json!({})), "jku": "https://evil.example/",
        "x5c": ["MIIB"], "x5u": "https://evil.example/"});
    assert_eq!(read(&verifier, &EC.sign(&header, &good)), Err(Refused::Invalid));
}

#[test]
fn only_public_keys_for_signatures_are_taken() {
    let check = |key: Value, taken: bool| {
        let set = KeySet::read(json!({"keys": [key]}).to_string().into()).unwrap();
        assert_eq!((set.keys.len(), set.ignored), (usize::from(taken), usize::from(!taken)), "{key}");
    };
    check(EC.public(&json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"], "x5t": "x"})), true);
    check(EC.public(&json!({"use": "enc"})), false);
    check(EC.public(&json!({"key_ops": ["sign"]})), false);
    check(EC.public(&json!({"alg": "HS256"})), false);
    check(EC.public(&json!({"crv": "P-384"})), false);
    check(EC.public(&json!({"d": "AAAA"})), false);
    check(EC.public(&json!({"kid": 5})), false);
    check(EC.public(&json!({"x": "AAAA"})), false);
    check(EC.public(&json!({"y": null})), false);
    check(ED.public(&json!({"alg": "EdDSA"})), true);
    check(ED.public(&json!({"crv": "Ed448"})), false);
    check(ED.public(&json!({"x": ""})), false);
    check(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), false);
    check(json!({"kty": "oct", "k": "YW5vdGhlcg"}), false);
    check(json!("x"), false);

    let many = |count: usize| json!({"keys": vec![ED.public(&json!({})); count]}).to_string().into();
    assert_eq!(KeySet::read(many(32)).unwrap().keys.len(), 32);
    assert!(KeySet::read(many(33)).is_err());
    for no_set in ["", "{}", "[]", r#"{"keys":{}}"#, "<html>"] {
        assert!(KeySet::read(no_set.into()).is_err(), "{no_set}");
    }
    // A point that is on no curve signs nothing.
    let off = by_keys(&[EC.public(&json!({"y": serde_json::from_str::<Value>(EC.jwk).unwrap()["x"]}))]);
    assert_eq!(read(&off, &EC.sign(&header("ES256"), &good().to_string())), Err(Refused::Invalid));
}

#[test]
fn settings_that_can_not_work_stop_the_start() {
    let check = |args: &[&str], sentence: Option<&str>| {
        let error = Verifier::new(&config(args)).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), sentence.is_some(), "{args:?}: {error:?}");
        assert!(error.unwrap_or_default().contains(sentence.unwrap_or_default()), "{args:?}");
    };
    check(&[], None);
    check(&["--identity", "required"], Some("IDENTITY=required needs"));
    check(&["--identity", "required", "--identity-secret", SECRET], None);
    let sessions = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
    check(&["--identity-secret", sessions], Some("another one than JWT_SECRET_KEY"));
    check(&["--identity-secret", SECRET, "--jwt-secret-key-previous", SECRET], Some("another one"));
    check(&["--identity-jwks", "/nowhere/jwks.json"], Some("IDENTITY_JWKS"));
    check(&["--identity", "off", "--identity-jwks", "/nowhere/jwks.json"], None);
    let none = key_file(&[json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})]);
    check(&["--identity-jwks", none.path().to_str().unwrap()], Some("IDENTITY_JWKS"));
}

/// Nobody vouches: a token is answered, not looked at.
#[test]
fn without_keys_nobody_is_known() {
    let token = hs256(&header("HS256"), &good().to_string(), SECRET.as_bytes());
    let check = |args: &[&str]| {
        assert_eq!(read(&Verifier::new(&config(args)).unwrap(), &token), Err(Refused::NotConfigured), "{args:?}");
    };
    check(&[]);
    check(&["--identity", "off", "--identity-secret", SECRET]);
}

fn metrics() -> Metrics {
    Metrics::new(&runtime::metrics::Metrics::new(None))
}

/// A file that changes is read again; one that breaks or goes takes no key away.
#[tokio::test]
async fn keys_rotate_in_a_file() {
    let (metrics, good) = (metrics(), good().to_string());
    let file = key_file(&[EC.public(&json!({"kid": "one"}))]);
    let path = file.path().to_str().unwrap().to_owned();
    let verifier = Verifier::new(&config(&["--identity-jwks", &path])).unwrap();
    let first = EC.sign(&json!({"alg": "ES256", "kid": "one"}), &good);
    let second = OTHER_EC.sign(&json!({"alg": "ES256", "kid": "two"}), &good);
    let check = |token: &str, expected: Option<Refused>| assert_eq!(read(&verifier, token).err(), expected);
    check(&first, None);
    check(&second, Some(Refused::UnknownKey));

    let both = [EC.public(&json!({"kid": "one"})), OTHER_EC.public(&json!({"kid": "two"}))];
    std::fs::write(&path, json!({"keys": both}).to_string()).unwrap();
    check(&second, Some(Refused::UnknownKey));
    verifier.prepare(&metrics).await;
    check(&first, None);
    check(&second, None);

    for broken in [String::new(), "{\"keys\":[".to_owned(), format!("{{\"keys\":[]}}{}", " ".repeat(64 * 1024))] {
        std::fs::write(&path, broken).unwrap();
        verifier.prepare(&metrics).await;
        check(&first, None);
    }
    std::fs::remove_file(&path).unwrap();
    verifier.prepare(&metrics).await;
    check(&second, None);
    let failed = metrics.identity_key_refreshes.get_or_create(&crate::metrics::KeyRefresh { result: "failed" }).get();
    assert_eq!(failed, 4);

    // A key that was taken out is known no more, the last one included.
    std::fs::write(&path, json!({"keys": [both[1]]}).to_string()).unwrap();
    verifier.prepare(&metrics).await;
    check(&first, Some(Refused::UnknownKey));
    check(&second, None);
    std::fs::write(&path, r#"{"keys":[]}"#).unwrap();
    verifier.prepare(&metrics).await;
    check(&second, Some(Refused::UnknownKey));
}
