use clap::Parser as _;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};

use super::*;
use crate::{
    Site,
    demo::{Demo, Script},
};

const SECRET: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: crate::Config,
}

fn site(n8n: &Demo) -> Site {
    rustls::crypto::ring::default_provider().install_default().ok();
    let line = ["x", "--n8n-webhook-url", n8n.url().as_str(), "--session-secret-key", SECRET, "--n8n-api-key", "a-key"];
    Cli::parse_from(line).config.for_doctor().unwrap().remove(0)
}

async fn scripted() -> Demo {
    Demo::scripted(([127, 0, 0, 1], 0).into()).await.unwrap()
}

/// The true one is signed with our secret; the forged ones have all that a true one has, but for the signature.
#[tokio::test]
async fn only_the_true_trial_is_signed_with_our_secret() {
    let n8n = scripted().await;
    let site = site(&n8n);
    for trial in [Trial::AsConfigured, Trial::Forged, Trial::ForgedWithoutKey] {
        n8n.will(Script::says(["hi"]));
        let tried = site.client.try_out(&site.id, trial, Duration::from_secs(10)).await;
        assert_eq!((tried.said, tried.lines), (Said::Text, true));
        let seen = n8n.requests().pop().unwrap();
        let body = seen.json();
        let mut strict = Validation::new(Algorithm::HS256);
        strict.set_audience(&["n8n"]);
        let token = body["jwt_token"].as_str().unwrap();
        let read =
            jsonwebtoken::decode::<serde_json::Value>(token, &DecodingKey::from_secret(SECRET.as_bytes()), &strict);
        assert_eq!(read.is_ok(), trial == Trial::AsConfigured, "{trial:?}");
        let claims = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token).unwrap().claims;
        assert_eq!(claims["session_id"], body["sessionId"], "{trial:?}");
        assert_eq!(seen.headers.contains_key("x-api-key"), trial != Trial::ForgedWithoutKey, "{trial:?}");
        assert_eq!((&body["chatInput"], body.get("reply_url")), (&TEST_MESSAGE.into(), None));
    }
}

/// n8n's own words, as they were recorded at n8n 2.38.
#[tokio::test]
async fn n8ns_refusals_are_told_apart() {
    let n8n = scripted().await;
    let site = site(&n8n);
    let check = async |script: Script, expected: Said| {
        n8n.will(script);
        let tried = site.client.try_out(&site.id, Trial::AsConfigured, Duration::from_secs(10)).await;
        assert_eq!(tried.said, expected);
    };
    let json = |status: u16, body: &'static str| Script::of(status, "application/json; charset=utf-8").bytes(body);
    check(
        json(
            404,
            r#"{"code":404,"message":"The requested webhook \"POST fd-unknown\" is not registered.","hint":"x"}"#,
        ),
        Said::Missing,
    )
    .await;
    let get = r#"{"code":404,"message":"This webhook is not registered for POST requests. Did you mean to make a GET request?"}"#;
    check(json(404, get), Said::OtherMethod("GET".into())).await;
    check(json(404, r#"{"message":"Did you mean to make a <b> request?"}"#), Said::Status(404)).await;
    check(Script::of(404, ""), Said::NotPublic).await;
    check(Script::of(403, "").bytes("Authorization data is wrong!"), Said::Unauthorized).await;
    check(json(500, r#"{"code":0,"message":"No item to return was found"}"#), Said::Failed).await;
    check(json(503, r#"{"code":503,"message":"Database is not ready!"}"#), Said::Starting).await;
    check(Script::of(502, "text/html").bytes("<html>bad gateway</html>"), Said::Status(502)).await;
    check(Script::lines(), Said::Empty { streaming: true }).await;
    check(Script::json(""), Said::Empty { streaming: false }).await;
    check(Script::hangs_up(), Said::Cut).await;
}

/// A date says how n8n's clock is, to a second.
#[tokio::test]
async fn the_clock_of_n8n_is_read() {
    let n8n = scripted().await;
    let site = site(&n8n);
    for (ahead, expected) in [(0, 0..=1_000), (120, 119_000..=121_000), (-3_600, -3_601_000..=-3_599_000)] {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(ahead);
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap();
        n8n.will(Script::of(204, "").header("date", &date));
        let clock = site.client.knock().await.clock.unwrap();
        let near = if ahead == 0 { clock.ahead_ms.abs() } else { clock.ahead_ms };
        assert!(expected.contains(&near), "{ahead}: {clock:?}");
    }
}
