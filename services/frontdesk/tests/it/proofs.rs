//! Stories of visitors whose session is bound to a key of their browser.

use std::time::{Duration, Instant, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use worker::demo::Script;

use crate::{
    desk::{Desk, LIMIT},
    visitor::{FINGERPRINT, use_ring},
};

/// The address under which visitors see all edges.
pub(crate) const PUBLIC: (&str, &str) = ("PUBLIC_URL", "https://chat.shop.test");
const MESSAGE: &str = "/api/v1/chat/message";
const VALIDATE: &str = "/api/v1/session/validate";

/// A browser with a key, and a session that is bound to it.
pub(crate) struct Browser {
    http: Client,
    key: SigningKey,
    token: String,
}

fn hash(bytes: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn jwk(key: &SigningKey) -> Value {
    let point = key.verifying_key().to_encoded_point(false);
    let (x, y) = (point.x().expect("not compressed"), point.y().expect("not compressed"));
    json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
}

impl Browser {
    pub(crate) async fn begin(edge: &str) -> Self {
        use_ring();
        let http = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
        let key = SigningKey::from_slice(&[7; 32]).expect("a scalar");
        let body = json!({"fingerprint": FINGERPRINT, "public_key": jwk(&key)});
        let created = http.post(format!("{edge}/api/v1/session/create")).json(&body).send().await;
        let created: Value = created.expect("the edge answers").json().await.expect("JSON");
        assert_eq!(created["token_type"], "DPoP", "{created}");
        Self { http, key, token: created["token"].as_str().expect("a token").to_owned() }
    }

    /// What a good proof of this call says.
    fn claims(&self, method: &str, path: &str, body: &str, jti: &str) -> Value {
        json!({"jti": jti, "htm": method, "htu": format!("{}{path}", PUBLIC.1), "iat": now(),
            "ath": hash(&self.token), "bh": hash(body)})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk(&self.key)});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }

    fn request(&self, edge: &str, method: Method, path: &str, body: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{edge}{path}")).header("x-fingerprint", FINGERPRINT);
        let request = request.header("authorization", format!("DPoP {}", self.token));
        request.header("accept", "application/json").header("content-type", "application/json").body(body.to_owned())
    }

    pub(crate) async fn validate(&self, edge: &str, jti: &str) -> Response {
        let proof = self.sign(&self.claims("GET", VALIDATE, "", jti));
        let request = self.request(edge, Method::GET, VALIDATE, "").header("dpop", proof);
        request.send().await.expect("the edge answers")
    }
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.expect("JSON");
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// Fifty copies of one signed request, at two edges at once: one is accepted, and n8n is asked once. Where NATS does not say
/// in time whether a copy is the first, that one is refused as well, and so may be the first itself; two are never accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_copies_of_a_signed_request_are_one() {
    let desk = Desk::spread(2, 1, &[PUBLIC]).await;
    desk.n8n.will(Script::says(["Hello"]));
    let browser = Browser::begin(&desk.edges[0].url).await;
    let body = json!({"message": "hi", "message_id": "message-1"}).to_string();
    let proof = browser.sign(&browser.claims("POST", MESSAGE, &body, "the-one-and-only"));
    let copy = |n: usize| {
        let request = browser.request(&desk.edges[n % 2].url, Method::POST, MESSAGE, &body).header("dpop", &proof);
        async { code(request.send().await.expect("the edge answers")).await }
    };
    let mut answers = futures_util::future::join_all((0..50).map(copy)).await;
    // Until an edge is told: by then the proof is used up, whoever used it.
    let until = Instant::now() + LIMIT;
    while answers.last().is_none_or(|(status, _)| *status == 503) {
        assert!(Instant::now() < until, "nobody is told: {answers:?}");
        answers.push(copy(answers.len()).await);
    }
    let of = |status, code: &str| answers.iter().filter(|(s, c)| (*s, c.as_str()) == (status, code)).count();
    let (accepted, replayed, overloaded) = (of(202, ""), of(401, "proof_replayed"), of(503, "overloaded"));
    assert_eq!(accepted + replayed + overloaded, answers.len(), "{answers:?}");
    assert!(accepted == 1 || accepted == 0 && overloaded > 0, "{answers:?}");
    // What the edges themselves say. A good proof whose message NATS did not take in time is a 503 as well.
    let mut said = std::collections::HashMap::new();
    for edge in &desk.edges {
        for result in ["accepted", "replayed", "overloaded"] {
            let metric = edge.metric(&format!("frontdesk_edge_proofs_total{{result=\"{result}\"}}")).await;
            *said.entry(result).or_insert(0.0) += metric;
        }
    }
    let times = |count: usize| f64::from(u32::try_from(count).expect("few"));
    assert!(said["accepted"] <= 1.0, "{said:?}");
    assert_eq!(said["replayed"], times(replayed), "{said:?} {answers:?}");
    assert_eq!(said["accepted"] + said["overloaded"], times(accepted + overloaded), "{said:?} {answers:?}");
    if accepted == 1 {
        desk.n8n.asked_at_least(1).await;
    }
    let asked = desk.n8n.asked();
    assert!(asked == 0 || asked == 1 && said["accepted"] > 0.0, "{asked} {said:?}");
}

/// What was changed on the way, or made without the key, is refused by an edge that has never seen the visitor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_the_signed_request_is_accepted() {
    let desk = Desk::spread(2, 0, &[PUBLIC]).await;
    let browser = Browser::begin(&desk.edges[0].url).await;
    let edge = &desk.edges[1].url;
    let (body, edited) = (r#"{"message":"hi"}"#, r#"{"message":"ho"}"#);
    let claims = || browser.claims("POST", MESSAGE, body, "proof-of-a-message");
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        browser.sign(&claims)
    };
    let check = async |what: &str, path: &str, body: &str, proof: Option<&str>, expected: &str| {
        let mut request = browser.request(edge, Method::POST, path, body);
        if let Some(proof) = proof {
            request = request.header("dpop", proof);
        }
        let answer = code(request.send().await.expect("the edge answers")).await;
        assert_eq!(answer, (401, expected.to_owned()), "{what}");
    };
    let good = browser.sign(&claims());
    let thief = Browser { key: SigningKey::from_slice(&[8; 32]).unwrap(), ..Browser::begin(edge).await };
    check("no proof", MESSAGE, body, None, "proof_required").await;
    check("an edited body", MESSAGE, edited, Some(&good), "proof_invalid").await;
    check("no body", MESSAGE, "", Some(&good), "proof_invalid").await;
    check("another path", "/api/v1/chat/ticket", body, Some(&good), "proof_invalid").await;
    check("another method", MESSAGE, body, Some(&with("htm", json!("GET"))), "proof_invalid").await;
    let here = format!("{edge}{MESSAGE}");
    check("the edge's own address", MESSAGE, body, Some(&with("htu", json!(here))), "proof_invalid").await;
    check("an old one", MESSAGE, body, Some(&with("iat", json!(now() - 90))), "proof_invalid").await;
    check("one of the future", MESSAGE, body, Some(&with("iat", json!(now() + 90))), "proof_invalid").await;
    check("another token", MESSAGE, body, Some(&with("ath", json!(hash("x")))), "proof_invalid").await;
    check("another key", MESSAGE, body, Some(&thief.sign(&claims())), "proof_invalid").await;

    let bearer = browser.http.get(format!("{edge}{VALIDATE}")).bearer_auth(&browser.token);
    let answer = bearer.header("x-fingerprint", FINGERPRINT).send().await.expect("the edge answers");
    assert_eq!(code(answer).await, (401, "proof_required".to_owned()));
    let request = browser.request(edge, Method::POST, MESSAGE, body).header("dpop", &good);
    assert_eq!(request.send().await.expect("the edge answers").status(), 202, "and the signed one is good");
}

/// Without NATS nobody knows whether a proof was used, so that none is accepted; afterwards all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nats_no_proof_is_accepted() {
    let mut desk = Desk::spread(1, 0, &[PUBLIC]).await;
    let browser = Browser::begin(&desk.edges[0].url).await;
    let edge = desk.edges[0].url.clone();
    assert_eq!(browser.validate(&edge, "first-proof").await.status(), 200);
    let nats = desk.nats.as_mut().expect("spread");
    nats.kill().await;
    assert_eq!(code(browser.validate(&edge, "second-proof").await).await, (503, "overloaded".to_owned()));
    nats.restart(true).await;
    let until = Instant::now() + LIMIT;
    let mut n = 0;
    while browser.validate(&edge, &format!("later-proof-{n}")).await.status() != 200 {
        assert!(Instant::now() < until, "signed calls don't come back");
        n += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(code(browser.validate(&edge, "first-proof").await).await, (401, "proof_replayed".to_owned()));
}
