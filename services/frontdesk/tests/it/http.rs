//! The executable's port as unkind clients use it: bytes that are almost HTTP, paths that lead elsewhere, connections
//! that only take place. And over TLS.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::{Certificate, Client};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::{
    desk::{Desk, LIMIT},
    visitor::use_ring,
};

/// What an attacker hopes to get answered beside the request it is hidden in.
const SMUGGLED: &str = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

async fn connect(desk: &Desk) -> TcpStream {
    let address = desk.edges[0].url.strip_prefix("http://").expect("plain HTTP");
    TcpStream::connect(address).await.expect("the edge listens")
}

/// Sends these bytes and reads until the edge closes the connection: the statuses of all answers, and the text.
async fn exchange(desk: &Desk, bytes: &[u8]) -> (Vec<u16>, String) {
    let mut stream = connect(desk).await;
    stream.write_all(bytes).await.expect("the edge reads");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    read.unwrap_or_else(|_| panic!("not closed: {}", bytes.escape_ascii())).ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|part| part[..3].parse().expect("a status")).collect();
    (statuses, text)
}

/// Each of these can be read in two ways, or is no HTTP/1.1. The answer is one, and then the connection is closed.
#[tokio::test]
async fn nothing_can_be_smuggled() {
    let desk = Desk::all_in_one(&[]).await;
    let create = "POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let bodies = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
        "transfer-encoding: CHUNKED\r\nCONTENT-LENGTH: 0\r\n\r\n0\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Length: 2, 2\r\n\r\n{}",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: +2\r\n\r\n{}",
        "Content-Length: 02\r\n\r\n{}",
        "Content-Length: 0x2\r\n\r\n{}",
        "Content-Length: 2 \t\r\n\r\n{}",
        "Content-Length: 18446744073709551616\r\n\r\n{}",
        "Content-Length : 2\r\n\r\n{}",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding\0: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chu\r\n nked\r\n\r\n0\r\n\r\n",
        "X: y\r\n Content-Length: 2\r\n\r\n{}",
        "X: y\nContent-Length: 2\r\n\r\n{}",
        "X: y\rContent-Length: 2\r\n\r\n{}",
        "X: a\0b\r\n\r\n",
        "X : y\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    ];
    let whole = [
        "GET /health/live HTTP/1.1\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: a/../b\r\n\r\n",
        "GET http://evil.example/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /health/live\r\n\r\n",
        "GET /health/live HTTP/0.9\r\n\r\n",
        "GET /health/live HTTP/1.1\n Host: x\n\n",
        "GET /health/live HTTP/1.1\nHost: x\n\n",
        "\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /health\0/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0",
        "GET /health/live HTTP/2\r\nHost: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
        "POST /api/v1/session/create HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    let attacks = bodies.iter().map(|body| format!("{create}{body}")).chain(whole.map(str::to_owned));
    for attack in attacks {
        let (statuses, text) = exchange(&desk, format!("{attack}{SMUGGLED}").as_bytes()).await;
        assert!(matches!(statuses[..], [400] | [505]), "{attack:?}: {text}");
        assert!(text.contains("application/problem+json") && text.contains("x-request-id: "), "{attack:?}: {text}");
        assert!(!text.contains(r#""status":"ok""#), "{attack:?}: {text}");
    }
    // Honest requests behind each other are answered one by one.
    let keep = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(&desk, format!("{keep}{keep}{SMUGGLED}").as_bytes()).await.0, [200, 200, 200]);
    let body = "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    assert_eq!(exchange(&desk, format!("{create}{body}{SMUGGLED}").as_bytes()).await.0, [400, 200]);
    let metrics = desk.visitor().await.get_plain("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"frontdesk_http_requests_refused_total{status="400"}"#), "{metrics}");
}

#[tokio::test]
async fn sizes_have_their_answers() {
    let desk = Desk::all_in_one(&[("URL_MAX_BYTES", "1000"), ("HEADER_MAX_COUNT", "20")]).await;
    let check = async |request: String, expected: u16, code: &str| {
        let (statuses, text) = exchange(&desk, request.as_bytes()).await;
        assert_eq!(statuses, [expected], "{text}");
        assert!(code.is_empty() || text.contains(&format!(r#""code":"{code}""#)), "{text}");
    };
    let tail = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    check(format!("GET /{} {tail}\r\n", "a".repeat(999)), 404, "not_found").await;
    check(format!("GET /{} {tail}\r\n", "a".repeat(1000)), 414, "uri_too_long").await;
    check(format!("GET /{} {tail}\r\n", "a".repeat(64 * 1024)), 414, "uri_too_long").await;
    check(format!("GET /health/live {tail}{}\r\n", "X: y\r\n".repeat(18)), 200, "").await;
    check(format!("GET /health/live {tail}{}\r\n", "X: y\r\n".repeat(19)), 431, "headers_too_large").await;
    check(format!("GET /health/live {tail}X: {}\r\n\r\n", "y".repeat(15_000)), 200, "").await;
    check(format!("GET /health/live {tail}X: {}\r\n\r\n", "y".repeat(17_000)), 431, "headers_too_large").await;
    let post = format!("POST /api/v1/session/create {tail}Content-Type: application/json\r\n");
    check(format!("{post}Content-Length: 70000\r\n\r\n{}", "x".repeat(70_000)), 413, "payload_too_large").await;
    check(format!("{post}Content-Length: 99999999999999\r\n\r\n"), 413, "payload_too_large").await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_widget() {
    let desk = Desk::all_in_one(&[]).await;
    for folder in ["/widget/", "/docs/", "/widget/v/", "/widget/js/"] {
        for path in [
            "../Cargo.toml",
            "..%2fCargo.toml",
            "..%2FCargo.toml",
            "%2e%2e/Cargo.toml",
            "%2e%2e%2fCargo.toml",
            "%252e%252e%252fCargo.toml",
            "..%252fCargo.toml",
            "..%c0%afCargo.toml",
            "%c0%ae%c0%ae/Cargo.toml",
            "..%5cCargo.toml",
            "..\\Cargo.toml",
            "..;/Cargo.toml",
            "....//Cargo.toml",
            "./embed.js",
            "//embed.js",
            "//etc/passwd",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "../../../../../../etc/passwd",
            "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
            "file:///etc/passwd",
            "embed.js%00",
            "embed.js%00.css",
            "embed.js%0d%0aX: y",
            "embed.js/",
            "embed.js/..",
            "EMBED.JS",
            "embed.js~",
            ".env",
            "test/stories.test.js",
            "package.json",
        ] {
            let request = format!("GET {folder}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let (statuses, text) = exchange(&desk, request.as_bytes()).await;
            // A space ends the target.
            let expected = if path.contains(' ') { 400 } else { 404 };
            assert_eq!(statuses, [expected], "{folder}{path}: {text}");
            assert!(!text.contains("root:") && !text.contains("[package]"), "{folder}{path}");
        }
    }
}

/// What shared caches keep is the same for everybody, whatever a request's headers say.
#[tokio::test]
async fn nothing_in_a_cache_is_of_an_attackers_making() {
    let desk = Desk::all_in_one(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let visitor = desk.visitor().await;
    let page = visitor.get_plain("/widget/modern-widget.html").send().await.unwrap().text().await.unwrap();
    let hashed = page.split('"').find(|part| part.starts_with("v/") && part.ends_with("main.js")).expect("hashed");
    let hashed = format!("/widget/{hashed}");
    for path in ["/widget/embed.js", "/widget/modern-widget.html", "/docs", "/docs/docs.js", "/openapi.json", &hashed] {
        let plain = visitor.get_plain(path).send().await.unwrap();
        let poisoned = visitor.get_plain(&format!("{path}?x=evil.example")).header("host", "evil.example");
        let poisoned = poisoned
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-prefix", "/evil.example")
            .header("x-original-url", "/evil.example")
            .header("x-rewrite-url", "/evil.example")
            .header("forwarded", "host=evil.example")
            .header("origin", "https://page.evil.example");
        let poisoned = poisoned.send().await.unwrap();
        for name in ["etag", "cache-control", "vary", "content-type", "content-security-policy"] {
            assert_eq!(plain.headers().get(name), poisoned.headers().get(name), "{path} {name}");
        }
        assert!(!format!("{:?}", poisoned.headers()).contains("evil"), "{path}");
        let forever = plain.headers()["cache-control"] == "public, max-age=31536000, immutable";
        assert_eq!(forever, path == hashed, "{path}");
        assert!(plain.headers()["vary"].to_str().unwrap().contains("Accept-Encoding"), "{path}");
        assert_eq!(plain.text().await.unwrap(), poisoned.text().await.unwrap(), "{path}");
    }
}

/// What every answer says to the browser, by the kind of its path.
#[tokio::test]
async fn every_answer_has_its_headers() {
    let desk = Desk::all_in_one(&[("PUBLIC_URL", "https://chat.shop.example")]).await;
    let visitor = desk.visitor().await;
    for (path, framed, page, resource) in [
        ("/", false, true, "cross-origin"),
        ("/docs", false, true, "cross-origin"),
        ("/widget/modern-widget.html", true, true, "cross-origin"),
        ("/widget/embed.js", false, false, "cross-origin"),
        ("/widget/nothing.js", false, false, "same-origin"),
        ("/nothing", false, false, "same-origin"),
        ("/health", false, false, "same-origin"),
        ("/health/live", false, false, "same-origin"),
        ("/metrics", false, false, "same-origin"),
        ("/api/v1/session/validate", false, false, "same-origin"),
        ("/api/v1/nothing", false, false, "same-origin"),
    ] {
        let answer = visitor.get_plain(path).send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(policy.ends_with("frame-ancestors 'none'"), !framed, "{path}: {policy}");
        assert_eq!(header("x-frame-options"), if framed { "" } else { "DENY" }, "{path}");
        assert_eq!(header("cross-origin-resource-policy"), resource, "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(header("strict-transport-security"), "max-age=31536000", "{path}");
        // The chat alone has a policy of its own: for the address of its worker.
        let types = if framed { "frontdesk-worker" } else { "'none'" };
        let trusted = format!("require-trusted-types-for 'script'; trusted-types {types}");
        assert_eq!(policy.contains(&trusted), page, "{path}: {policy}");
        assert_eq!(header("permissions-policy").contains("camera=()"), page, "{path}");
        assert_eq!(header("cross-origin-opener-policy"), if page { "same-origin" } else { "" }, "{path}");
        assert!(!answer.headers().contains_key("server") && !answer.headers().contains_key("set-cookie"), "{path}");
        let kept = path == "/" || path == "/docs" || (path.starts_with("/widget") && !path.contains("nothing"));
        assert_eq!(header("cache-control"), if kept { "no-cache" } else { "no-store" }, "{path}");
    }
    let desk = Desk::all_in_one(&[]).await;
    let plain = desk.visitor().await.get_plain("/health/live").send().await.unwrap();
    assert!(!plain.headers().contains_key("strict-transport-security"), "not over plain HTTP");
}

/// Half a thousand connections that never finish what they ask: whoever is honest does not notice, and the slow ones
/// are told and cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_honest_are_served_while_others_are_slow() {
    let desk = Desk::all_in_one(&[("HEADER_TIMEOUT", "3s"), ("BODY_TIMEOUT", "3s")]).await;
    let post = "POST /api/v1/session/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let mut slow = Vec::new();
    for number in 0..500 {
        let mut stream = connect(&desk).await;
        let start = match number % 3 {
            0 => "GET /health/live HTTP/1.1\r\nHost: x\r\nX-".to_owned(),
            1 => format!("{post}Content-Length: 100\r\n\r\n{{"),
            _ => String::new(),
        };
        stream.write_all(start.as_bytes()).await.expect("the edge reads");
        slow.push((number % 3, stream));
    }
    let visitor = desk.visitor().await;
    assert_eq!(visitor.get("/api/v1/session/validate").send().await.unwrap().status(), 200);
    for (kind, mut stream) in slow {
        let mut answer = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("it is cut").ok();
        let expected = ["HTTP/1.1 408 ", "HTTP/1.1 400 ", ""][kind];
        assert!(answer.starts_with(expected) && (answer.is_empty() == expected.is_empty()), "{kind}: {answer}");
    }
    assert_eq!(visitor.get("/api/v1/session/validate").send().await.unwrap().status(), 200);
}

/// A certificate for the loopback's address in a folder of its own.
struct Papers(tempfile::TempDir);

impl Papers {
    fn new() -> Self {
        let papers = Self(tempfile::tempdir().expect("a temporary folder"));
        papers.renew();
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        let fresh = self.path("fresh");
        std::fs::write(&fresh, text).expect("the folder is ours");
        std::fs::rename(fresh, self.path(name)).expect("the folder is ours");
    }

    fn renew(&self) {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a name");
        self.put("key.pem", &pair.signing_key.serialize_pem());
        self.put("cert.pem", &pair.cert.pem());
    }

    /// A client that trusts what is in the folder now, and nothing else.
    fn client(&self) -> Client {
        use_ring();
        let pem = std::fs::read(self.path("cert.pem")).expect("it was written");
        let only = Certificate::from_pem(&pem).expect("PEM");
        Client::builder().no_proxy().timeout(LIMIT).tls_certs_only([only]).build().expect("a client")
    }
}

/// TLS by the edge itself: visitors, health checks, renewal without a restart, and what is not TLS.
#[tokio::test]
async fn the_edge_speaks_tls() {
    let papers = Papers::new();
    let (cert, key) = (papers.path("cert.pem"), papers.path("key.pem"));
    let (cert, key) = (cert.to_str().expect("text"), key.to_str().expect("text"));
    let desk = Desk::all_in_one(&[("TLS_CERT", cert), ("TLS_KEY", key)]).await;
    let url = desk.edges[0].url.clone();
    let address = url.strip_prefix("https://").expect("it says so").to_owned();
    let live = format!("{url}/health/live");

    let old = papers.client();
    let answer = old.get(&live).send().await.expect("it is trusted");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_11));
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    answer.text().await.expect("a body");
    let created = old.post(format!("{url}/api/v1/session/create")).header("origin", &url);
    let created = created.json(&serde_json::json!({"fingerprint": "0123456789abcdef"})).send().await;
    assert_eq!(created.expect("it is trusted").status(), 200, "the edge's own origin is https");
    let stranger = Papers::new().client().get(&live).send().await;
    assert!(stranger.is_err(), "another certificate is not trusted");

    let port = address.rsplit(':').next().expect("a port");
    let check = |settings: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        command.arg("healthcheck").env_clear().envs(settings.iter().copied()).env("API_PORT", port);
        let status = command.current_dir(std::env::temp_dir()).stderr(Stdio::null()).status();
        status.expect("the executable starts").success()
    };
    assert!(check(&[("TLS_CERT", cert)]));
    assert!(!check(&[]), "plain HTTP is not answered");

    let mut plain = TcpStream::connect(&address).await.expect("the edge listens");
    plain.write_all(SMUGGLED.as_bytes()).await.expect("the edge reads");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());

    papers.renew();
    let renewed = papers.client();
    let until = Instant::now() + LIMIT;
    while renewed.get(&live).send().await.is_err() {
        assert!(Instant::now() < until, "the renewed certificate is not used:\n{}", desk.edges[0].log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It trusts only the former certificate, so its answer can only come over the connection that it has had open.
    assert_eq!(old.get(&live).send().await.expect("still open").status(), 200);

    papers.put("cert.pem", "rubbish");
    let refused = "the one before it stays";
    while !desk.edges[0].log().contains(refused) {
        assert!(Instant::now() < until, "nothing was said of it:\n{}", desk.edges[0].log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(renewed.get(&live).send().await.expect("the one before it serves").status(), 200);
}

/// Files that can't be used stop the start with a sentence.
#[tokio::test]
async fn unusable_certificates_stop_the_start() {
    let papers = Papers::new();
    let start = |cert: &str, key: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_frontdesk"));
        command.env_clear().env("API_PORT", "0").env("TLS_CERT", papers.path(cert));
        if !key.is_empty() {
            command.env("TLS_KEY", papers.path(key));
        }
        let output = command.current_dir(std::env::temp_dir()).output().expect("the executable starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(start("cert.pem", "").contains("--tls-key"));
    assert!(start("missing.pem", "key.pem").contains("missing.pem: No such file"));
    assert!(start("cert.pem", "cert.pem").contains("there is no private key"));
}
