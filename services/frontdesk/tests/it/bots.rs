//! Programs that pretend to be visitors, and what becomes of them.

use std::sync::{Arc, Mutex};

use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use crate::{
    desk::{Desk, LIMIT},
    visitor::use_ring,
};

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef";
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";
const BRANDS: &str = r#""Not)A;Brand";v="8", "Chromium";v="138", "Google Chrome";v="138""#;
/// Easy, so that tests are quick in a debug build.
const EASY: (&str, &str) = ("CHALLENGE_DIFFICULTY", "8");

/// Somebody who talks to the edge over HTTP.
#[derive(Clone)]
struct Caller {
    http: Client,
    edge: String,
}

/// What a request was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
}

impl Answer {
    fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    fn challenge(&self) -> &Value {
        assert_eq!(self.code(), (403, "challenge_required"), "{self:?}");
        &self.body["challenge"]
    }
}

impl Caller {
    fn new(desk: &Desk, headers: &[(&'static str, &str)]) -> Self {
        use_ring();
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header")))
            .collect();
        let http = Client::builder().no_proxy().timeout(LIMIT).default_headers(headers).build().expect("a client");
        Self { http, edge: desk.edges[0].url.clone() }
    }

    /// A script that says it is a browser, and forgets to hide what drives it.
    fn program(desk: &Desk) -> Self {
        Self::new(desk, &[("user-agent", &CHROME.replace("Chrome", "HeadlessChrome"))])
    }

    /// A person's browser.
    fn browser(desk: &Desk) -> Self {
        let headers = [
            ("user-agent", CHROME),
            ("sec-ch-ua", BRANDS),
            ("sec-fetch-mode", "cors"),
            ("accept-language", "en-GB,en;q=0.9"),
        ];
        Self::new(desk, &headers)
    }

    async fn send(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let request = self.http.post(format!("{}{path}", self.edge)).json(body).header("accept", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.expect("it answers");
        Answer { status: response.status().as_u16(), body: response.json().await.expect("it answers") }
    }

    async fn create(&self, answer: &str) -> Answer {
        let headers = [("x-challenge-response", answer)];
        let headers = if answer.is_empty() { &[][..] } else { &headers[..] };
        self.send("/api/v1/session/create", &json!({"fingerprint": FINGERPRINT}), headers).await
    }

    /// A session's token. Does the work if it is asked for.
    async fn begin(&self) -> String {
        let mut answer = self.create("").await;
        if answer.status == 403 {
            answer = self.create(&solve(answer.challenge())).await;
        }
        answer.body["token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// A session's token, without any work.
    async fn begin_plainly(&self) -> String {
        let created = self.create("").await;
        created.body["token"].as_str().unwrap_or_else(|| panic!("{created:?}")).to_owned()
    }

    async fn say(&self, token: &str, body: &Value, answer: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str()), ("x-fingerprint", FINGERPRINT)];
        if !answer.is_empty() {
            headers.push(("x-challenge-response", answer));
        }
        self.send("/api/v1/chat/message", body, &headers).await
    }

    /// The value of a metric; 0 when it has none yet.
    async fn metric(&self, name: &str) -> u64 {
        let text = self
            .http
            .get(format!("{}/metrics", self.edge))
            .send()
            .await
            .expect("it answers")
            .text()
            .await
            .expect("it answers");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("it is of that form"))
    }
}

/// Does a proof of work, by the words of the API's description.
fn solve(challenge: &Value) -> String {
    assert_eq!((&challenge["type"], &challenge["algorithm"]), (&json!("pow"), &json!("sha-256")), "{challenge}");
    let text = challenge["challenge"].as_str().expect("it is of that form");
    let bits =
        usize::try_from(challenge["difficulty"].as_u64().expect("it is of that form")).expect("it is of that form");
    let good = |answer: &String| {
        let hash = Sha256::digest(answer);
        (0..bits).all(|bit| hash[bit / 8] & (0x80 >> (bit % 8)) == 0)
    };
    (0..).map(|counter: u64| format!("{text}:{counter}")).find(good).expect("it is of that form")
}

/// A program is asked for work for its session and for each of its messages; once it has done that it is answered like
/// anybody.
#[tokio::test]
async fn a_program_does_the_work_and_goes_on() {
    let desk = Desk::all_in_one(&[EASY]).await;
    let program = Caller::program(&desk);
    let asked = program.create("").await;
    let challenge = asked.challenge();
    assert_eq!((&challenge["difficulty"], &challenge["expires_in"]), (&json!(8), &json!(120)));
    let created = program.create(&solve(challenge)).await;
    assert_eq!(created.status, 200, "{created:?}");
    let token = created.body["token"].as_str().unwrap();

    let message = json!({"message": "hi", "message_id": "message-1"});
    let asked = program.say(token, &message, "").await;
    let answer = solve(asked.challenge());
    assert_eq!(desk.n8n.asked(), 0, "nothing reaches the workflow before");
    assert_eq!(program.say(token, &message, &answer).await.status, 202);
    desk.n8n.asked_at_least(1).await;
    // A repeat of a message that was taken is not judged again.
    assert_eq!(program.say(token, &message, "").await.status, 202);
    assert_eq!(program.metric(r#"frontdesk_edge_bot_challenges_total{result="passed"}"#).await, 2);
    assert!(program.metric(r#"frontdesk_edge_bot_reasons_total{reason="automation"}"#).await >= 4);
    assert!(desk.edges[0].log().contains("judged a request"), "and it is logged");
}

/// An answer is good once, for who was asked, and until it expires.
#[tokio::test]
async fn answers_are_not_for_sharing() {
    let desk = Desk::all_in_one(&[EASY]).await;
    let program = Caller::program(&desk);
    let answer = solve(program.create("").await.challenge());
    assert_eq!(program.create(&answer).await.status, 200);
    program.create(&answer).await.challenge();
    let (one, two) = (program.begin().await, program.begin().await);
    let message = |id: &str| json!({"message": "hi", "message_id": id});
    let answer = solve(program.say(&one, &message("message-1"), "").await.challenge());
    program.say(&two, &message("message-2"), &answer).await.challenge();
    assert_eq!(program.say(&one, &message("message-1"), &answer).await.status, 202, "it is not spoilt by others");
    program.create("rubbish").await.challenge();
    let result = |result: &str| format!("frontdesk_edge_bot_challenges_total{{result=\"{result}\"}}");
    assert_eq!(program.metric(&result("used")).await, 1);
    assert_eq!(program.metric(&result("invalid")).await, 2);

    let short = Desk::all_in_one(&[EASY, ("CHALLENGE_TTL", "1ms")]).await;
    let late = Caller::program(&short);
    let answer = solve(late.create("").await.challenge());
    late.create(&answer).await.challenge();
    assert_eq!(late.metric(&result("expired")).await, 1);
}

/// A field that people don't see is filled in by programs only, and no work makes up for that.
#[tokio::test]
async fn who_fills_in_what_nobody_sees_is_refused() {
    let desk = Desk::all_in_one(&[EASY]).await;
    let browser = Caller::browser(&desk);
    let body = json!({"fingerprint": FINGERPRINT, "signals": {"honeypot": "https://pills.example"}});
    assert_eq!(browser.send("/api/v1/session/create", &body, &[]).await.code(), (403, "bot_detected"));
    let token = browser.begin().await;
    let trapped = json!({"message": "hi", "message_id": "message-1", "signals": {"honeypot": "x"}});
    assert_eq!(browser.say(&token, &trapped, "").await.code(), (403, "bot_detected"));
    let honest = json!({"message": "hi", "message_id": "message-1", "signals": {"honeypot": "", "form_ms": 4000}});
    assert_eq!(browser.say(&token, &honest, "").await.status, 202);
    let bad = json!({"message": "hi", "signals": {"webdriver": "yes"}});
    assert_eq!(browser.say(&token, &bad, "").await.body["field"], "signals.webdriver");
}

/// Browsers, and servers that call the API openly, never meet any of it, whatever people write and however often.
#[tokio::test]
async fn honest_callers_are_never_challenged() {
    let desk = Desk::all_in_one(&[("ALLOWED_ORIGINS", "https://shop.example")]).await;
    let callers = [
        Caller::browser(&desk),
        Caller::new(&desk, &[("user-agent", "python-requests/2.32.3")]),
        Caller::new(&desk, &[("user-agent", "curl/8.5.0")]),
        Caller::new(&desk, &[("user-agent", CHROME)]),
        Caller::new(&desk, &[]),
    ];
    let long = "x".repeat(4000);
    for caller in &callers {
        for session in 0..8 {
            let token = caller.begin_plainly().await;
            // One link from a few; the same one from very many would be spam.
            let last = if session == 0 { "see https://a.example" } else { "bye" };
            for (n, text) in ["hi", "hi", "hi", "hi", "hi", &long, last].into_iter().enumerate() {
                let id = format!("message-{session}-{n}");
                let said = caller.say(&token, &json!({"message": text, "message_id": id}), "").await;
                // 409: the reply before it still runs.
                assert!(said.status == 202 || said.status == 409, "{said:?}");
            }
        }
    }
    assert_eq!(callers[0].metric(r#"frontdesk_edge_bot_verdicts_total{verdict="challenge",mode="enforce"}"#).await, 0);
}

/// One text with a link from many sessions: first each has to work for it, then nobody's is taken.
#[tokio::test]
async fn link_spam_from_many_sessions_is_stopped() {
    let desk = Desk::all_in_one(&[EASY]).await;
    let browser = Caller::browser(&desk);
    let mut told = Vec::new();
    for n in 0..22 {
        let token = browser.begin_plainly().await;
        let text = format!("Offer {n}: cheap pills at https://pills.example/{n}");
        let said = browser.say(&token, &json!({"message": text}), "").await;
        told.push(said.status.to_string() + said.body["code"].as_str().unwrap_or_default());
        if n == 21 {
            assert_eq!(said.body["reason"], "content");
        }
    }
    assert_eq!(told[..5], ["202"; 5]);
    assert!(told[5..20].iter().all(|told| told == "403challenge_required"), "{told:?}");
    assert!(told[20..].iter().all(|told| told == "400message_rejected"), "{told:?}");
    let token = browser.begin_plainly().await;
    let many = json!({"message": "https://a.example ".repeat(11)});
    assert_eq!(browser.say(&token, &many, "").await.body["reason"], "content");
    assert_eq!(browser.say(&token, &json!({"message": "is https://p\u{430}ypal.com yours?"}), "").await.status, 202);
    assert_eq!(browser.metric("frontdesk_edge_suspicious_links_total").await, 1);
}

/// In shadow mode everybody is let through, and what would have been done is counted.
#[tokio::test]
async fn the_shadow_only_counts() {
    let desk = Desk::all_in_one(&[("BOT_RULES", "shadow")]).await;
    let program = Caller::program(&desk);
    let token = program.begin_plainly().await;
    let trapped = json!({"message": "https://a.example ".repeat(11), "signals": {"honeypot": "x"}});
    assert_eq!(program.say(&token, &trapped, "").await.status, 202);
    let verdict = |verdict: &str| format!("frontdesk_edge_bot_verdicts_total{{verdict=\"{verdict}\",mode=\"shadow\"}}");
    assert_eq!(program.metric(&verdict("challenge")).await, 1);
    assert_eq!(program.metric(&verdict("refuse")).await, 1);

    let off = Desk::all_in_one(&[("BOT_RULES", "off"), ("BOT_CHALLENGE_AT", "0")]).await;
    let program = Caller::program(&off);
    program.begin_plainly().await;
    assert_eq!(program.metric(&verdict("challenge")).await, 0);
}

/// A captcha's provider on this machine: says yes to `good`, no to anything else.
struct Provider {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it answers");
        let url = format!("http://{}/siteverify", listener.local_addr().expect("it is of that form"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let task = TaskTracker::new().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !whole(&request) && socket.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
                let request = String::from_utf8(request).expect("it is of that form");
                let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                let success = body.contains("response=good&");
                heard.lock().expect("nobody panics with it").push(body.to_owned());
                let document = json!({"success": success, "error-codes": []}).to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", document.len());
                socket.write_all((head + &document).as_bytes()).await.ok();
            }
        });
        Self { url, asked, task }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A desk that asks `provider` about those whom it suspects much.
async fn with_captcha(provider: &Provider) -> Desk {
    Desk::all_in_one(&[
        EASY,
        ("CAPTCHA", "turnstile"),
        ("CAPTCHA_SITE_KEY", "1x00AA"),
        ("CAPTCHA_SECRET_KEY", "the secret"),
        ("CAPTCHA_VERIFY_URL", &provider.url),
        // So that a program of score 60 is in the upper half.
        ("BOT_CHALLENGE_AT", "10"),
    ])
    .await
}

/// The ladder whole: work, then a captcha whose answer the provider must confirm, then rest from it.
#[tokio::test]
async fn after_the_work_comes_the_captcha() {
    let provider = Provider::start().await;
    let desk = with_captcha(&provider).await;
    let program = Caller::program(&desk);
    let captcha = json!({"type": "turnstile", "site_key": "1x00AA"});
    assert_eq!(program.create("turnstile:good").await.challenge()["type"], "pow", "work comes first");
    assert!(provider.asked().is_empty(), "and without it nobody makes us call");

    let work = program.create("").await;
    assert_eq!(*program.create(&solve(work.challenge())).await.challenge(), captcha);
    assert_eq!(program.create("turnstile:bad").await.challenge()["type"], "pow", "a wrong answer begins anew");
    assert_eq!(program.create("turnstile:good").await.challenge()["type"], "pow");
    let work = program.create("").await;
    assert_eq!(*program.create(&solve(work.challenge())).await.challenge(), captcha);
    let created = program.create("turnstile:good").await;
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(
        provider.asked(),
        ["secret=the+secret&response=bad&sitekey=1x00AA", "secret=the+secret&response=good&sitekey=1x00AA"]
    );
    // Once a person, only work for a while.
    let work = program.create("").await;
    assert_eq!(program.create(&solve(work.challenge())).await.status, 200);
    assert!(!desk.edges[0].log().contains("the secret"));

    let token = created.body["token"].as_str().unwrap();
    let message = json!({"message": "hi", "message_id": "message-1"});
    let work = program.say(token, &message, "").await;
    assert_eq!(program.say(token, &message, &solve(work.challenge())).await.status, 202);
}

/// Who is suspected a little does work alone, until there has been too much of it.
#[tokio::test]
async fn too_much_work_ends_in_a_captcha() {
    let provider = Provider::start().await;
    let desk = with_captcha(&provider).await;
    let odd = Caller::new(&desk, &[("user-agent", "curl/8.5.0")]);
    let token = odd.begin().await;
    for n in 2..=5 {
        let message = json!({"message": format!("message {n}"), "message_id": format!("message-{n}")});
        let work = odd.say(&token, &message, "").await;
        let said = odd.say(&token, &message, &solve(work.challenge())).await;
        match n {
            5 => assert_eq!(said.challenge()["type"], "turnstile"),
            _ => assert!(said.status == 202 || said.status == 409, "{said:?}"),
        }
    }
}

/// A provider that can't be asked keeps no customer out: the work has to do.
#[tokio::test]
async fn without_the_provider_the_work_has_to_do() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let desk = Desk::all_in_one(&[
        EASY,
        ("CAPTCHA", "hcaptcha"),
        ("CAPTCHA_SITE_KEY", "10000000-ffff"),
        ("CAPTCHA_SECRET_KEY", "0x0000"),
        ("CAPTCHA_VERIFY_URL", &url),
        ("BOT_CHALLENGE_AT", "10"),
    ])
    .await;
    let program = Caller::program(&desk);
    let work = program.create("").await;
    assert_eq!(program.create(&solve(work.challenge())).await.challenge()["type"], "hcaptcha");
    assert_eq!(program.create("hcaptcha:anything").await.status, 200);
    assert_eq!(program.metric(r#"frontdesk_edge_bot_challenges_total{result="captcha_away"}"#).await, 1);
    assert!(!desk.edges[0].log().contains(&url), "an address may hold a key");
}
