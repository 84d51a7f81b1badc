//! The client against a stand-in n8n, over real sockets: what each answer of n8n becomes, and how often it is asked.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests")]

use std::{
    io::Write as _,
    net::SocketAddr,
    pin::pin,
    time::{Duration, Instant},
};

use clap::Parser;
use flate2::{Compression, write::GzEncoder};
use futures_util::{FutureExt as _, poll};
use protocol::{FailureCode, Message};
use runtime::Secret;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};
use worker::{
    demo::{Demo, Gate, Script},
    lines::Piece,
    n8n::{Answer, Client, Config, Read},
};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Longer than any limit that a test sets to something short: whoever waits this long waited for the wrong one.
const LONG: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    n8n: Config,
}

fn client(url: &str, settings: &[&str]) -> Client {
    // Only the first test of the process installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Cli::parse_from(["worker", "--n8n-webhook-url", url].iter().chain(settings)).n8n;
    if !settings.contains(&"--n8n-retry-backoff") {
        config.retry_backoff = Duration::from_millis(10);
    }
    Client::new(&config, &Secret::generate()).unwrap()
}

fn message(text: &str) -> Message {
    serde_json::from_value(json!({
        "v": 1, "site": "default", "session": "sess_1767168909_9f86d081884c7d65", "message_id": "msg-0001",
        "text": text, "digest": "x", "origin": "https://shop.example", "accepted_at": 1_767_168_909_500_i64,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }))
    .unwrap()
}

/// One whole answer.
struct Reply {
    pieces: Vec<String>,
    end: Result<(), FailureCode>,
    answer: Answer,
    took: Duration,
}

impl Reply {
    async fn of(client: &Client, text: &str) -> Self {
        let begun = Instant::now();
        let mut answer = client.ask(&message(text));
        let mut pieces = Vec::new();
        let end = async {
            loop {
                if let Read::End(end) = answer.read(&mut keep(&mut pieces)).await {
                    break end;
                }
            }
        };
        let end = timeout(LONG, end).await.expect("an end in time");
        Self { pieces, end, answer, took: begun.elapsed() }
    }

    fn text(&self) -> String {
        text(&self.pieces)
    }
}

fn keep(pieces: &mut Vec<String>) -> impl FnMut(Piece<'_>) {
    |piece| {
        pieces.push(match piece {
            Piece::Text(text) => format!("={text}"),
            other => format!("{other:?}"),
        });
    }
}

fn text(pieces: &[String]) -> String {
    pieces.iter().filter_map(|piece| piece.strip_prefix('=')).collect()
}

/// Asks a new stand-in that has this one script.
async fn ask(script: Script, settings: &[&str]) -> (Reply, Demo) {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    demo.will(script);
    let reply = Reply::of(&client(demo.url().as_str(), settings), "hi").await;
    (reply, demo)
}

#[tokio::test]
async fn a_reply_arrives_while_n8n_writes_it() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let gates = [Gate::new(), Gate::new(), Gate::new()];
    let [first, second, third] = &gates;
    demo.will(Script::lines().begin().wait(first).items(["Hel"]).wait(second).items(["lo"]).wait(third).end());

    let mut answer = client(demo.url().as_str(), &[]).ask(&message("hi"));
    assert!(!answer.may_have_begun());
    let mut pieces = Vec::new();
    for (gate, expected) in gates.iter().zip([&["Begun"][..], &["Begun", "=Hel"], &["Begun", "=Hel", "=lo"]]) {
        while pieces.len() < expected.len() {
            assert_eq!(answer.read(&mut keep(&mut pieces)).await, Read::More);
        }
        assert_eq!(pieces, expected);
        assert!(answer.may_have_begun());
        gate.open();
    }
    while answer.read(&mut keep(&mut pieces)).await == Read::More {}
    assert_eq!(answer.read(&mut keep(&mut pieces)).await, Read::End(Ok(())), "and stays over");
    assert_eq!(pieces.len(), 3);
    assert_eq!((demo.asked(), answer.tries(), answer.status()), (1, 1, Some(200)));
}

#[tokio::test]
async fn n8n_gets_what_the_contract_says() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let client = client(demo.url().as_str(), &["--n8n-api-key", "k-1", "--n8n-api-key-header", "X-Shop-Key"]);
    Reply::of(&client, "Grüße <b>\n").await.end.unwrap();

    let [seen] = &demo.requests()[..] else { panic!("one request") };
    let header = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(seen.uri.path(), "/webhook/demo");
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("x-shop-key"), Some("k-1"));
    assert_eq!(header("x-api-key"), None);
    assert_eq!(header("idempotency-key"), Some("msg-0001"));
    assert_eq!(header("traceparent"), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!(header("authorization"), None);
    assert_eq!(header("cookie"), None);
    assert_eq!(header("accept-encoding"), Some("identity"));
    assert_eq!(header("transfer-encoding"), None, "n8n's size limit looks at the length");
    assert_eq!(header("content-length"), Some(seen.body.len().to_string().as_str()));
    let body = seen.json();
    assert_eq!((&body["chatInput"], &body["message"]), (&json!("Grüße <b>\n"), &json!("Grüße <b>\n")));
    assert_eq!(body["session"]["origin_domain"], "shop.example");
    assert_eq!(body["jwt_token"].as_str().unwrap().split('.').count(), 3);
}

#[tokio::test]
async fn a_request_without_key_or_trace_has_no_such_header() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let client = client(demo.url().as_str(), &[]);
    let mut plain = message("hi");
    plain.traceparent = Some("bad\nheader".to_owned());
    let mut answer = client.ask(&plain);
    while answer.read(&mut |_| {}).await == Read::More {}
    let [seen] = &demo.requests()[..] else { panic!("one request") };
    assert!(!seen.headers.contains_key("x-api-key"));
    assert!(!seen.headers.contains_key("traceparent"));
}

#[tokio::test]
async fn lines_may_come_in_any_packets() {
    async fn check(script: Script, expected: &str) {
        let (reply, _demo) = ask(script, &[]).await;
        assert_eq!((reply.text().as_str(), reply.end), (expected, Ok(())));
    }
    const UTF8: &[u8] = include_bytes!("captures/utf8.jsonl");
    let expected =
        "Grüße aus Köln — 日本語テスト 😀👩\u{200d}👩\u{200d}👧\u{200d}👦 🇩🇪 é e\u{301} \u{2028}x 𝄞 עברית fin";
    check(Script::lines().bytes(UTF8), expected).await;
    check(UTF8.chunks(7).fold(Script::lines(), Script::bytes), expected).await;
    let long = "€".repeat(70_000);
    check(Script::says(["a ", &long, " z"]), &format!("a {long} z")).await;
    let tokens: Vec<String> = (0..2000).map(|n| format!("t{n} ")).collect();
    check(Script::says(tokens.iter().map(String::as_str)), &tokens.concat()).await;
}

#[tokio::test]
async fn every_form_of_answer_has_its_end() {
    async fn check(script: Script, text: &str, end: Result<(), FailureCode>) {
        let told = format!("{script:?}");
        let (reply, demo) = ask(script, &["--n8n-connect-retries", "0"]).await;
        assert_eq!((reply.text().as_str(), reply.end), (text, end), "{told}");
        assert_eq!(demo.asked(), 1, "{told}");
    }
    use FailureCode::{UpstreamEmpty, UpstreamError, UpstreamInvalid, UpstreamUnauthorized, UpstreamUnreachable};
    let json = "application/json; charset=utf-8";

    // Streams.
    check(Script::says(["one ", "two"]), "one two", Ok(())).await;
    check(Script::says([]), "", Err(UpstreamEmpty)).await;
    check(Script::lines(), "", Err(UpstreamEmpty)).await;
    check(Script::lines().keepalive(), "", Err(UpstreamEmpty)).await;
    check(Script::lines().items(["no begin"]), "no begin", Ok(())).await;
    check(Script::says(["one"]).begin().items(["two"]).end(), "one\n\ntwo", Ok(())).await;
    check(Script::says(["one"]).error("tool").begin().items(["two"]).end(), "one\n\ntwo", Ok(())).await;
    check(Script::says(["one"]).error("after"), "one", Ok(())).await;
    check(Script::lines().begin().items(["one"]).error("sk-secret"), "one", Err(UpstreamError)).await;
    check(Script::lines().error("sk-secret"), "", Err(UpstreamError)).await;
    check(Script::lines().begin().items(["one"]).bytes("<html>504</html>\n"), "one", Err(UpstreamUnreachable)).await;
    // Documents.
    check(Script::json(r#"{"output":"one"}"#), "one", Ok(())).await;
    check(Script::json(r#"[{"data":{"text":"one"}}]"#), "one", Ok(())).await;
    check(Script::json(r#"{"n":1}"#), "", Err(UpstreamInvalid)).await;
    check(Script::json(r#"{"message":"Workflow was started"}"#), "", Err(UpstreamInvalid)).await;
    check(Script::text("You said: hi"), "You said: hi", Ok(())).await;
    check(Script::text("<!DOCTYPE html><p>10.0.0.7"), "", Err(UpstreamUnreachable)).await;
    check(Script::starting(), "", Err(UpstreamUnreachable)).await;
    check(Script::of(200, "image/png").bytes("PNG"), "", Err(UpstreamInvalid)).await;
    check(Script::of(200, "").bytes("plain"), "plain", Ok(())).await;
    check(Script::of(204, ""), "", Err(UpstreamEmpty)).await;
    // Refusals. Their bodies are nobody's business.
    let no = r#"{"message":"Error in workflow","output":"sk-secret"}"#;
    for (status, code) in [
        (302, UpstreamInvalid),
        (304, UpstreamInvalid),
        (400, UpstreamError),
        (401, UpstreamUnauthorized),
        (403, UpstreamUnauthorized),
        (404, UpstreamError),
        (422, UpstreamError),
        (429, UpstreamError),
        (500, UpstreamUnreachable),
        (502, UpstreamUnreachable),
        (503, UpstreamUnreachable),
    ] {
        check(Script::of(status, json).bytes(no), "", Err(code)).await;
    }
    check(Script::of(403, "").bytes("Authorization data is wrong!"), "", Err(UpstreamUnauthorized)).await;
    check(Script::not_loaded(), "", Err(UpstreamUnreachable)).await;
    check(Script::of(404, "text/html").bytes("the workflow's own words"), "", Err(UpstreamError)).await;
    // Broken connections.
    check(Script::lines().begin().items(["one"]).cut(), "one", Err(UpstreamError)).await;
    check(Script::hangs_up(), "", Err(UpstreamError)).await;
}

#[tokio::test]
async fn a_reset_in_the_middle_keeps_what_was_said() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let gate = Gate::new();
    demo.will(Script::lines().begin().items(["Hel"]).wait(&gate).reset());
    let mut answer = client(demo.url().as_str(), &[]).ask(&message("hi"));
    let mut pieces = Vec::new();
    while text(&pieces) != "Hel" {
        assert_eq!(answer.read(&mut keep(&mut pieces)).await, Read::More);
    }
    gate.open();
    assert_eq!(answer.read(&mut keep(&mut pieces)).await, Read::End(Err(FailureCode::UpstreamError)));
    assert_eq!((demo.asked(), answer.may_have_begun()), (1, true));
}

/// No retry, whatever happens once the workflow may have run.
#[tokio::test]
async fn n8n_is_asked_once_when_it_may_have_begun() {
    async fn check(script: Script) {
        let told = format!("{script:?}");
        let (reply, demo) = ask(script, &["--n8n-connect-retries", "5", "--n8n-first-token-timeout", "100ms"]).await;
        assert!(reply.end.is_err(), "{told}");
        assert_eq!((demo.asked(), reply.answer.tries(), reply.answer.may_have_begun()), (1, 1, true), "{told}");
    }
    check(Script::hangs_up()).await;
    check(Script::silence()).await;
    check(Script::lines().cut()).await;
    check(Script::lines()).await;
    check(Script::of(500, "application/json").bytes("{}")).await;
    check(Script::of(503, "text/html").bytes("<html>")).await;
    check(Script::of(404, "application/json").bytes("{}")).await;
    check(Script::text("<html>a page, but not n8n's start page")).await;
    check(Script::json("{}")).await;
    // What a workflow's own node says like n8n itself: n8n sandboxes that, and its own pages not.
    let own = "sandbox allow-downloads allow-forms";
    check(Script::starting().header("content-security-policy", own)).await;
    check(Script::not_loaded().header("content-security-policy", own)).await;
}

#[tokio::test]
async fn a_starting_n8n_is_asked_again() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    demo.will(Script::starting()).will(Script::not_loaded()).will(Script::says(["ready"]));
    let reply = Reply::of(&client(demo.url().as_str(), &[]), "hi").await;
    assert_eq!((reply.text().as_str(), reply.end), ("ready", Ok(())));
    assert_eq!((demo.asked(), reply.answer.tries()), (3, 3));
    let tokens: Vec<_> = demo.requests().iter().map(|seen| seen.json()["message_id"].clone()).collect();
    assert_eq!(tokens, ["msg-0001", "msg-0001", "msg-0001"]);

    // Twice more is the default; then it is over, and nothing has run.
    for _ in 0..4 {
        demo.will(Script::starting());
    }
    let reply = Reply::of(&client(demo.url().as_str(), &[]), "hi").await;
    assert_eq!(reply.end, Err(FailureCode::UpstreamUnreachable));
    assert_eq!((demo.asked(), reply.answer.tries(), reply.answer.may_have_begun()), (6, 3, false));
}

/// A port on which nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_and_has_run_nothing() {
    async fn check(url: &str) {
        let reply = Reply::of(&client(url, &["--n8n-connect-timeout", "5s"]), "hi").await;
        assert_eq!(reply.end, Err(FailureCode::UpstreamUnreachable), "{url}");
        assert_eq!((reply.answer.tries(), reply.answer.may_have_begun()), (3, false), "{url}");
    }
    check(&format!("http://{}/webhook/x", nowhere().await)).await;
    check("http://n8n.invalid/webhook/x").await;
    // TLS to a port that speaks plain HTTP.
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    check(&demo.url().as_str().replace("http:", "https:")).await;
    assert_eq!(demo.asked(), 0);
}

/// A 503 is repeated only where it says that nothing ran: it names a time, or has n8n's own words.
#[tokio::test]
async fn a_503_that_ran_nothing_is_asked_again() {
    let not_ready = || Script::of(503, "application/json").bytes(r#"{"code":503,"message":"Database is not ready!"}"#);
    let later = |seconds: &str| Script::of(503, "text/html").header("retry-after", seconds).bytes("<html>");
    async fn check(first: Script, asked: u64) {
        let told = format!("{first:?}");
        let demo = Demo::scripted(ANY_PORT).await.unwrap();
        demo.will(first).will(Script::says(["ready"]));
        let reply = Reply::of(&client(demo.url().as_str(), &[]), "hi").await;
        let expected = if asked > 1 { Ok(()) } else { Err(FailureCode::UpstreamUnreachable) };
        assert_eq!((reply.end, demo.asked()), (expected, asked), "{told}");
        assert_eq!(reply.answer.is_outage(), asked == 1);
    }
    check(not_ready(), 2).await;
    check(later("0"), 2).await;
    // Longer than any try waits: told at once.
    check(later("31"), 1).await;
    check(later("99999999999999999999"), 1).await;
    check(later("Wed, 21 Oct 2099 07:28:00 GMT"), 1).await;
    // A proxy that lost n8n in the middle says as much, and no time.
    check(Script::of(503, "text/plain").bytes("upstream connect error or disconnect/reset before headers"), 1).await;
    check(Script::of(503, "application/json").bytes("{}"), 1).await;
    check(Script::of(502, "text/html").header("retry-after", "0"), 1).await;
    // A workflow's own words: it ran.
    let own = "sandbox allow-downloads allow-forms";
    check(not_ready().header("content-security-policy", own), 1).await;
    check(later("0").header("content-security-policy", own), 1).await;
}

/// It is waited for as long as it asks for.
#[tokio::test]
async fn a_503_is_given_its_time() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    demo.will(Script::of(503, "").header("retry-after", "1")).will(Script::says(["ready"]));
    let reply = Reply::of(&client(demo.url().as_str(), &[]), "hi").await;
    assert_eq!((reply.text().as_str(), reply.end), ("ready", Ok(())));
    assert!(reply.took >= Duration::from_secs(1), "{:?}", reply.took);
}

/// All replies of a client share its budget: a part of the calls, and a few besides.
#[tokio::test]
async fn tries_are_under_a_budget() {
    async fn check(settings: &[&str], calls: u64, asked: u64) {
        let demo = Demo::scripted(ANY_PORT).await.unwrap();
        let client = client(demo.url().as_str(), &[&["--n8n-connect-retries", "1"], settings].concat());
        let mut refused = 0;
        for _ in 0..calls {
            let reply = Reply::of(&client, "[[starting]]").await;
            assert_eq!(reply.end, Err(FailureCode::UpstreamUnreachable));
            refused += u64::from(reply.answer.out_of_budget());
        }
        assert_eq!((demo.asked(), refused), (asked, calls * 2 - asked), "{settings:?}");
    }
    check(&["--n8n-retry-floor", "0", "--n8n-retry-budget", "0"], 3, 3).await;
    check(&["--n8n-retry-floor", "0"], 20, 24).await;
    check(&["--n8n-retry-floor", "0", "--n8n-retry-budget", "100"], 5, 10).await;
    // One a second is ten in the ten seconds that are looked at.
    check(&["--n8n-retry-budget", "0"], 12, 22).await;
}

/// What speaks against n8n itself, and what against its workflow, or against nobody.
#[tokio::test]
async fn an_outage_is_told_from_a_failure() {
    async fn check(script: Script, expected: bool) {
        let told = format!("{script:?}");
        let (reply, _demo) = ask(script, &["--n8n-first-token-timeout", "100ms", "--n8n-idle-timeout", "100ms"]).await;
        assert_eq!(reply.answer.is_outage(), expected, "{told} ended as {:?}", reply.end);
    }
    check(Script::of(500, "application/json"), true).await;
    check(Script::silence(), true).await;
    check(Script::hangs_up(), true).await;
    check(Script::lines().begin().cut(), true).await;
    check(Script::lines().begin().items(["one"]).hang(), true).await;
    check(Script::text("<!DOCTYPE html><p>"), true).await;
    check(Script::lines().begin().items(["one"]).cut(), false).await;
    check(Script::lines().error("no"), false).await;
    check(Script::lines(), false).await;
    check(Script::of(401, ""), false).await;
    check(Script::of(404, "application/json"), false).await;
    check(Script::json("{}"), false).await;
    check(Script::says(["one"]), false).await;
}

#[tokio::test]
async fn n8n_may_come_up_between_two_tries() {
    let addr = nowhere().await;
    let mut answer = client(&format!("http://{addr}/webhook/x"), &[]).ask(&message("hi"));
    assert_eq!(answer.read(&mut |_| {}).await, Read::More);
    assert_eq!((answer.tries(), answer.may_have_begun()), (1, false));

    let demo = Demo::scripted(addr).await.unwrap();
    while answer.read(&mut |_| {}).await == Read::More {}
    assert_eq!(answer.read(&mut |_| {}).await, Read::End(Ok(())));
    assert_eq!((answer.tries(), demo.asked()), (2, 1));
}

/// n8n took a request on a kept connection and closed it without a word: nobody knows whether it ran.
#[tokio::test]
async fn an_unanswered_request_on_a_kept_connection_is_not_repeated() {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let client = client(&format!("http://{}/", listener.local_addr().unwrap()), &[]);
    let server = async {
        let (mut kept, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        assert!(kept.read(&mut request).await.unwrap() > 0);
        kept.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        // The second request, on the same connection, whole: head and body.
        let mut second = Vec::new();
        while !second.ends_with(b"}") {
            let read = kept.read(&mut request).await.unwrap();
            assert!(read > 0);
            second.extend_from_slice(&request[..read]);
        }
    };
    let visitor = async {
        let first = Reply::of(&client, "hi").await;
        assert_eq!((first.text().as_str(), first.end), ("ok", Ok(())));
        Reply::of(&client, "hi again").await
    };
    let ((), second) = tokio::join!(server, visitor);
    assert_eq!(second.end, Err(FailureCode::UpstreamError));
    assert_eq!((second.answer.tries(), second.answer.may_have_begun()), (1, true));
    assert!(listener.accept().now_or_never().is_none(), "no second connection");
}

fn gzip(parts: &[&str]) -> Vec<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut packed: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| {
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.flush().unwrap();
            std::mem::take(encoder.get_mut())
        })
        .collect();
    packed.push(encoder.finish().unwrap());
    packed
}

/// Not asked for, but a proxy may do it; each line is there when it was flushed.
#[tokio::test]
async fn a_packed_stream_is_unpacked_as_it_comes() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let lines = ["{\"type\":\"item\",\"content\":\"Hel\"}\n", "{\"type\":\"item\",\"content\":\"lo\"}\n"];
    let [first, second, last] = &gzip(&lines)[..] else { panic!("three parts") };
    let gate = Gate::new();
    let script = Script::lines().header("content-encoding", "gzip").bytes(first.clone()).wait(&gate);
    demo.will(script.bytes(second.clone()).bytes(last.clone()));

    let mut answer = client(demo.url().as_str(), &[]).ask(&message("hi"));
    let mut pieces = Vec::new();
    while text(&pieces) != "Hel" {
        assert_eq!(answer.read(&mut keep(&mut pieces)).await, Read::More);
    }
    gate.open();
    while answer.read(&mut keep(&mut pieces)).await == Read::More {}
    assert_eq!(answer.read(&mut keep(&mut pieces)).await, Read::End(Ok(())));
    assert_eq!(text(&pieces), "Hello");
}

/// A small packed body that unpacks to more than any reply may be.
#[tokio::test]
async fn a_bomb_is_defused() {
    let parts = gzip(&[&"x".repeat(8 << 20)]).concat();
    assert!(parts.len() < 20_000);
    let script = Script::of(200, "text/plain").header("content-encoding", "gzip").bytes(parts);
    let (reply, _demo) = ask(script, &["--reply-max-bytes", "64KiB"]).await;
    assert_eq!((reply.text().as_str(), reply.end), ("", Err(FailureCode::TooLarge)));
}

#[tokio::test]
async fn a_reply_over_the_limit_is_cut_off() {
    let (reply, demo) =
        ask(Script::lines().begin().items(["12345", "67890", "x"]).hang(), &["--reply-max-bytes", "10"]).await;
    assert_eq!((reply.text().as_str(), reply.end), ("1234567890", Err(FailureCode::TooLarge)));
    timeout(LONG, demo.left_at_least(1)).await.unwrap();
    let (reply, _demo) =
        ask(Script::json(&json!({"output": "x".repeat(11)}).to_string()), &["--reply-max-bytes", "10"]).await;
    assert_eq!((reply.text().as_str(), reply.end), ("", Err(FailureCode::TooLarge)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Demo::scripted(ANY_PORT).await.unwrap();
    for status in [301, 307, 308] {
        let (reply, demo) = ask(Script::of(status, "").header("location", elsewhere.url().as_str()), &[]).await;
        assert_eq!(reply.end, Err(FailureCode::UpstreamInvalid), "{status}");
        assert_eq!((demo.asked(), elsewhere.asked()), (1, 0), "{status}");
    }
}

#[tokio::test]
async fn patience_has_limits() {
    /// The limits that are not named are long, so that only the named one can end it.
    async fn check(script: Script, limit: &str, expected: &str) {
        let told = format!("{script:?}");
        let mut settings = Vec::new();
        for name in
            ["--n8n-first-token-timeout", "--n8n-idle-timeout", "--n8n-error-idle-timeout", "--n8n-total-timeout"]
        {
            settings.extend([name, if name == limit { "100ms" } else { "1h" }]);
        }
        let (reply, demo) = ask(script, &settings).await;
        assert_eq!((reply.text().as_str(), reply.end), (expected, Err(FailureCode::UpstreamTimeout)), "{limit} {told}");
        assert!((Duration::from_millis(100)..LONG).contains(&reply.took), "{limit} {told}: {:?}", reply.took);
        assert!(reply.answer.may_have_begun());
        // The connection is closed, not left to hang.
        timeout(LONG, demo.left_at_least(1)).await.unwrap();
    }
    let first = "--n8n-first-token-timeout";
    check(Script::silence(), first, "").await;
    check(Script::lines().hang(), first, "").await;
    check(Script::lines().begin().keepalive().items([""]).hang(), first, "").await;
    check(Script::json("{\"output\":").hang(), first, "").await;
    let idle = "--n8n-idle-timeout";
    check(Script::lines().begin().items(["one"]).hang(), idle, "one").await;
    check(Script::says(["one"]).hang(), idle, "one").await;
    let total = "--n8n-total-timeout";
    check(Script::silence(), total, "").await;
    check(Script::lines().begin().items(["one"]).hang(), total, "one").await;
    // What n8n does at a workflow's time limit.
    let error = "--n8n-error-idle-timeout";
    check(Script::lines().begin().items(["one"]).error("Original error: AbortError").hang(), error, "one").await;
    check(Script::lines().begin().error("x").hang(), error, "").await;
    check(Script::lines().error("x").hang(), error, "").await;
}

#[tokio::test]
async fn patience_lasts_as_long_as_n8n_lives() {
    async fn check(script: Script, settings: &[&str], expected: &str) {
        let (reply, _demo) = ask(script, settings).await;
        assert_eq!((reply.text().as_str(), reply.end), (expected, Ok(())), "{settings:?}");
    }
    let ms = Duration::from_millis;
    // Keepalive is life; so is half a line.
    let mut script = Script::lines().begin().items(["one "]);
    for _ in 0..12 {
        script = script.pause(ms(50)).keepalive();
    }
    check(script.items(["two"]).end(), &["--n8n-idle-timeout", "500ms"], "one two").await;
    let mut script = Script::lines().begin().items(["one "]).bytes("{\"type\":\"item\",\"content\":\"");
    for _ in 0..12 {
        script = script.pause(ms(50)).bytes("x");
    }
    check(script.bytes("\"}\n").end(), &["--n8n-idle-timeout", "500ms"], "one xxxxxxxxxxxx").await;
    // A tool failed, and the model thinks about that.
    let script = Script::says(["one"]).error("tool").pause(ms(200)).begin().items(["two"]).end();
    check(script, &["--n8n-error-idle-timeout", "50ms"], "one\n\ntwo").await;
    // The first text came in time, so the time to it is no limit any more.
    let script = Script::lines().items(["one "]).pause(ms(600)).items(["two"]);
    check(script, &["--n8n-first-token-timeout", "500ms"], "one two").await;
}

#[tokio::test]
async fn tries_end_with_the_time_to_the_first_text() {
    let settings = ["--n8n-connect-retries", "100", "--n8n-first-token-timeout", "100ms"];
    let reply = Reply::of(&client(&format!("http://{}/", nowhere().await), &settings), "hi").await;
    assert_eq!(reply.end, Err(FailureCode::UpstreamUnreachable));
    assert!((2..100).contains(&reply.answer.tries()), "{}", reply.answer.tries());
    assert!(reply.took < LONG && !reply.answer.may_have_begun());

    // A try that would come too late is not waited for.
    let settings = ["--n8n-retry-backoff", "30s", "--n8n-first-token-timeout", "2s"];
    let reply = Reply::of(&client(&format!("http://{}/", nowhere().await), &settings), "hi").await;
    assert_eq!((reply.end, reply.answer.tries()), (Err(FailureCode::UpstreamUnreachable), 1));
    assert!(reply.took < Duration::from_secs(2));
}

/// The caller selects between the answer and other things, and drops the read that lost.
#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let tokens: Vec<String> = (0..200).map(|n| format!("t{n} ")).collect();
    demo.will(Script::says(tokens.iter().map(String::as_str))).will(Script::lines().begin().items(["one"]).hang());
    let client = client(demo.url().as_str(), &["--n8n-idle-timeout", "100ms"]);

    let polled = async |mut answer: Answer| {
        let (mut pieces, mut dropped) = (Vec::new(), 0_u32);
        loop {
            let read = poll!(pin!(answer.read(&mut keep(&mut pieces))));
            match read {
                std::task::Poll::Ready(Read::More) => {}
                std::task::Poll::Ready(Read::End(end)) => return (text(&pieces), end, dropped),
                std::task::Poll::Pending => dropped += 1,
            }
            tokio::task::yield_now().await;
        }
    };
    let (said, end, dropped) = polled(client.ask(&message("hi"))).await;
    assert_eq!((said, end), (tokens.concat(), Ok(())));
    assert!(dropped > 0);
    // Nor does it start the patience anew.
    let begun = Instant::now();
    let (said, end, dropped) = polled(client.ask(&message("hi"))).await;
    assert_eq!((said.as_str(), end), ("one", Err(FailureCode::UpstreamTimeout)));
    assert!(dropped > 0 && begun.elapsed() < LONG);
}

#[tokio::test]
async fn dropping_the_answer_closes_the_connection() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    demo.will(Script::lines().begin().items(["one"]).hang());
    let mut answer = client(demo.url().as_str(), &[]).ask(&message("hi"));
    let mut pieces = Vec::new();
    while text(&pieces) != "one" {
        answer.read(&mut keep(&mut pieces)).await;
    }
    drop(answer);
    timeout(LONG, demo.left_at_least(1)).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_reads_asks_nothing() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    drop(client(demo.url().as_str(), &[]).ask(&message("hi")));
    demo.stop().await;
    assert_eq!(demo.asked(), 0);
}

#[tokio::test]
async fn the_stand_in_does_what_markers_say() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    let client = client(demo.url().as_str(), &["--n8n-connect-retries", "0", "--n8n-idle-timeout", "100ms"]);
    let check = async |said: &str, expected: &str, end: Result<(), FailureCode>| {
        let reply = Reply::of(&client, said).await;
        assert_eq!((reply.text().as_str(), reply.end), (expected, end), "{said}");
    };
    check("hello", "tok1 tok2 tok3 ", Ok(())).await;
    check("x [[n=2]] [[delay=1]]", "tok1 tok2 ", Ok(())).await;
    check("[[size=5]]", "xxxxx", Ok(())).await;
    check("[[json]]", "tok1 tok2 tok3 ", Ok(())).await;
    check("[[die=1]]", "tok1 ", Err(FailureCode::UpstreamError)).await;
    check("[[error=1]]", "tok1 ", Err(FailureCode::UpstreamError)).await;
    check("[[error]]", "", Err(FailureCode::UpstreamError)).await;
    check("[[hang=1]]", "tok1 ", Err(FailureCode::UpstreamTimeout)).await;
    check("[[status=403]]", "", Err(FailureCode::UpstreamUnauthorized)).await;
    check("[[html]]", "", Err(FailureCode::UpstreamUnreachable)).await;
    check("[[starting]]", "", Err(FailureCode::UpstreamUnreachable)).await;
    check("[[empty]]", "", Err(FailureCode::UpstreamEmpty)).await;
    demo.when("special", Script::says(["by word"]));
    check("something special", "by word", Ok(())).await;
    check("more special [[n=1]]", "by word", Ok(())).await;
    assert_eq!(demo.asked(), 14);
}

#[tokio::test]
async fn the_friendly_stand_in_answers_and_remembers_nothing() {
    let demo = Demo::friendly(ANY_PORT).await.unwrap();
    let reply = Reply::of(&client(demo.url().as_str(), &[]), "[[status=500]] hello").await;
    assert_eq!(reply.end, Ok(()));
    assert!(reply.text().contains("You said `[[status=500]] hello`"), "{}", reply.text());
    assert!(reply.pieces.len() > 50, "word by word");
    assert_eq!((demo.asked(), demo.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_stopped_stand_in_cuts_its_answers() {
    let demo = Demo::scripted(ANY_PORT).await.unwrap();
    demo.will(Script::lines().begin().items(["one"]).hang());
    let client = client(demo.url().as_str(), &[]);
    let stop = async {
        demo.asked_at_least(1).await;
        demo.stop().await;
    };
    let (reply, ()) = tokio::join!(Reply::of(&client, "hi"), stop);
    assert_eq!(reply.end, Err(FailureCode::UpstreamError));
    let reply = Reply::of(&client, "hi").await;
    assert_eq!(reply.end, Err(FailureCode::UpstreamUnreachable));
    assert_eq!(demo.asked(), 1);
}
