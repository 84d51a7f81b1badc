//! Customers who are signed in at the shop: `docs/identity`, word for word, against the real edge.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    visitor::{Visitor, check_reply},
};

pub(crate) const SECRET: &str = "Lk8pQz3sVt6xCw1nBy4mHd7gRf2jTa5e";

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/identity").join(name)
}

/// Runs a recipe in a folder of its own and returns the line that it prints.
pub(crate) fn run(program: &str, name: &str, args: &[&str], folder: &Path) -> String {
    let mut command = Command::new(program);
    command.arg(recipe(name)).args(args).env("IDENTITY_SECRET", SECRET).current_dir(folder);
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// The claims of n8n's token; its signature is the worker's own test.
fn claims(jwt_token: &Value) -> Value {
    let payload = jwt_token.as_str().expect("a token").split('.').nth(1).expect("three parts").to_owned();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// What PHP, Node and Python sign with the shop's secret is who the customer is, and reaches n8n by its token alone.
#[tokio::test]
async fn the_recipes_of_the_shop_are_understood() {
    let desk = Desk::spread(2, 1, &[("IDENTITY_SECRET", SECRET)]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let customer =
        json!({"sub": "customer \"17\"/ü", "name": "Ada Łovelace 😀", "order_scope": ["a/b", "c"], "customer_id": 17});
    let claims_of_shop = r#"{"name":"Ada Łovelace 😀","order_scope":["a/b","c"],"customer_id":17,"role":"marker-role","sub":"x","exp":1}"#;
    for (program, name) in [("php", "sign.php"), ("node", "sign.mjs"), ("python3", "sign.py")] {
        let sub = customer["sub"].as_str().expect("text");
        let token = run(program, name, &[sub, claims_of_shop], folder.path());
        let (visitor, created) = Visitor::begin_as(&desk.edges[0].url, Some(&token)).await;
        assert_eq!(created["identity"], customer, "{name}: {created}");
        // At another edge, with another token of the same session.
        let at_other = visitor.at(&desk.edges[1].url);
        let renewed = at_other.post("/api/v1/session/refresh", &json!({})).send().await.expect("the edge answers");
        let renewed: Value = renewed.json().await.expect("JSON");
        let mut visitor = at_other;
        visitor.token = renewed["token"].as_str().expect("a token").to_owned();
        let valid = visitor.get("/api/v1/session/validate").send().await.expect("the edge answers");
        assert_eq!(valid.json::<Value>().await.expect("JSON")["identity"], customer, "{name}");

        check_reply(&visitor.hear("message-1", "hello").await, 0);
        let mut asked = desk.n8n.requests().pop().expect("n8n was asked").json();
        let jwt_token = asked.as_object_mut().expect("an object").remove("jwt_token").expect("there is a token");
        assert_eq!(claims(&jwt_token)["identity"], customer, "{name}");
        let plain = asked.to_string();
        assert!(!plain.contains("identity") && !plain.contains("customer") && !plain.contains("Ada"), "{plain}");

        let elsewhere = run(program, name, &[sub, claims_of_shop, "elsewhere"], folder.path());
        let (_, created) = Visitor::begin_as(&desk.edges[0].url, Some(&elsewhere)).await;
        assert_eq!(
            (&created["identity"], &created["identity_error"]),
            (&Value::Null, &json!("wrong_audience")),
            "{name}"
        );
        let plain = run(program, name, &["c-1"], folder.path());
        let (_, created) = Visitor::begin_as(&desk.edges[0].url, Some(&plain)).await;
        assert_eq!(created["identity"], json!({"sub": "c-1"}), "{name}");
    }
    // Nobody else's words about who they are.
    let (visitor, created) = Visitor::begin_as(&desk.edges[0].url, Some("a.b.c")).await;
    assert_eq!((&created["identity"], &created["identity_error"]), (&Value::Null, &json!("invalid")));
    let claim = json!({"message": "hello", "message_id": "message-1", "context": {"identity": {"sub": "claimed"}},
        "identity": {"sub": "claimed"}, "identity_token": "x"});
    let said = visitor.post("/api/v1/chat/message", &claim).send().await.expect("the edge answers");
    assert!(said.text().await.expect("the reply").contains("event: end"));
    let asked = desk.n8n.requests().pop().expect("n8n was asked").json();
    assert_eq!(claims(&asked["jwt_token"])["identity"], Value::Null);
    assert_eq!(asked["metadata"]["context"], claim["context"]);

    // Of all that not a word stands in a log.
    for process in desk.edges.iter().chain(&desk.workers).chain(&desk.analytics) {
        let log = process.log();
        assert!(!log.contains("Łovelace") && !log.contains("customer \"17") && !log.contains("marker-role"), "{log}");
    }
}

/// A key pair of the shop: its public half is in a file that the edge reads again, or at an address.
#[tokio::test]
async fn a_key_pair_vouches_as_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run("node", "keys.mjs", &["make", "one"], folder.path());
    let set = folder.path().join("jwks.json");
    let required =
        [("IDENTITY", "required"), ("IDENTITY_JWKS", set.to_str().expect("text")), ("IDENTITY_JWKS_REFRESH", "20ms")];
    let desk = Desk::all_in_one(&required).await;
    let sign = || run("node", "keys.mjs", &["sign", "one", "c-1", r#"{"name":"Ada"}"#], folder.path());
    let create = async |token: Option<String>| -> (u16, Value) {
        let body = json!({"fingerprint": "0123456789abcdef", "identity_token": token});
        let create = reqwest::Client::builder().no_proxy().build().expect("a client");
        let create = create.post(format!("{}/api/v1/session/create", desk.edges[0].url)).json(&body);
        let answer = create.send().await.expect("the edge answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    };
    let old = sign();
    let (status, created) = create(Some(old.clone())).await;
    assert_eq!((status, &created["identity"]), (200, &json!({"sub": "c-1", "name": "Ada"})), "{created}");
    let (status, problem) = create(None).await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthorized")));

    // Another pair of the same name takes its place.
    std::fs::remove_file(folder.path().join("private.pem")).expect("it is there");
    run("node", "keys.mjs", &["make", "one"], folder.path());
    let new = sign();
    while create(Some(new.clone())).await.0 != 200 {}
    let (status, problem) = create(Some(old)).await;
    let told = (&problem["code"], &problem["identity_error"]);
    assert_eq!((status, told), (401, (&json!("token_invalid"), &json!("invalid"))), "{problem}");
}

/// The key set of another server is there before the first visitor, and its loss takes nothing away.
#[tokio::test]
async fn keys_come_from_an_address() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run("node", "keys.mjs", &["make", "one"], folder.path());
    let set = std::fs::read_to_string(folder.path().join("jwks.json")).expect("it was made");
    let shop = worker::demo::Demo::scripted(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    shop.when("", worker::demo::Script::json(&set));
    let settings = [("IDENTITY_JWKS", shop.url().as_str()), ("IDENTITY_JWKS_REFRESH", "20ms")];
    let desk = Desk::all_in_one(&settings).await;
    let token = run("node", "keys.mjs", &["sign", "one", "c-1"], folder.path());
    let identity = async || Visitor::begin_as(&desk.edges[0].url, Some(&token)).await.1["identity"].clone();
    assert_eq!(identity().await, json!({"sub": "c-1"}));
    shop.asked_at_least(3).await;
    shop.stop().await;
    while !desk.edges[0].log().contains("can't read the shop's public keys") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(identity().await, json!({"sub": "c-1"}));
}

/// Settings that leave nobody to vouch, or that let the shop make tokens of Frontdesk's own, stop the start.
#[test]
fn settings_that_can_not_work_stop_the_start() {
    let jwt = ("JWT_SECRET_KEY", "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a");
    let check = |settings: &[(&str, &str)], word: &str| {
        for role in [&["edge"][..], &[]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
            command.args(role).env_clear().envs([jwt, ("API_PORT", "0"), ("SESSION_SECRET_KEY", SECRET)]);
            let output = command.envs(settings.iter().copied()).current_dir(std::env::temp_dir()).output();
            let output = output.expect("the executable starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(word), "{role:?} {settings:?}: {said}");
            assert!(output.stdout.is_empty(), "nothing listens yet");
            assert!(!said.contains(jwt.1) && !said.contains(SECRET), "{said}");
        }
    };
    check(&[("IDENTITY", "required")], "IDENTITY_SECRET or IDENTITY_JWKS");
    check(&[("IDENTITY_SECRET", jwt.1)], "another one than JWT_SECRET_KEY");
    check(&[("IDENTITY_SECRET", "short")], "frontdesk keys");
    check(&[("IDENTITY_JWKS", "/nowhere/jwks.json")], "IDENTITY_JWKS can't be used");
    check(&[("IDENTITY_JWKS", "http://shop.example/jwks.json")], "https://");
    check(&[("IDENTITY", "sometimes")], "optional");

    // All-in-one knows the worker's secret as well.
    let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
    command.env_clear().envs([("API_PORT", "0"), ("SESSION_SECRET_KEY", SECRET), ("IDENTITY_SECRET", SECRET)]);
    let output = command.current_dir(std::env::temp_dir()).output().expect("the executable starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("IDENTITY_SECRET and SESSION_SECRET_KEY"), "{said}");
}
