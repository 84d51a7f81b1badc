//! The listener as clients meet it. Where time matters, the connection is one in memory and the clock is ours.

use axum::routing::{get, post};
use bytes::Bytes;
use tokio::{
    io::DuplexStream,
    net::TcpSocket,
    time::{Instant, sleep},
};

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn app() -> Router {
    let endless = || async { Body::new(Endless(Bytes::from_static(&[b'x'; 1024]))) };
    Router::new()
        .route("/", get(|| async { "hi" }))
        .route("/early", post(|| async { StatusCode::UNAUTHORIZED }))
        .route("/panic", get(async || -> &'static str { panic!("a handler that panics") }))
        .route("/slow", get(|| async { sleep(Duration::from_secs(300)).await }))
        .route("/endless", get(endless))
        .route(
            "/echo",
            post(|body: Result<Bytes, axum::extract::rejection::BytesRejection>| async move {
                body.map_or_else(|_| (StatusCode::BAD_REQUEST, Bytes::new()), |body| (StatusCode::OK, body))
            }),
        )
}

/// A body of the same piece, over and over.
struct Endless(Bytes);

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(self.0.clone()))))
    }
}

/// One connection in memory, served until its end.
struct Link {
    client: DuplexStream,
    tasks: TaskTracker,
    counts: Counts,
    began: Instant,
}

impl Link {
    fn open() -> Self {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (tasks, counts) = (TaskTracker::new(), Counts::default());
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        let one = Connection { peer, app: app(), limits: Limits::default(), counts: counts.clone() };
        tasks.spawn(one.drive(server, false, CancellationToken::new()));
        tasks.close();
        Self { client, tasks, counts, began: Instant::now() }
    }

    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything that comes until the connection is closed.
    async fn rest(&mut self) -> String {
        let mut answer = Vec::new();
        self.client.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Everything up to the end of one answer whose body is `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut answer = String::new();
        while !answer.ends_with(end) {
            let mut piece = [0; 1024];
            let read = self.client.read(&mut piece).await.unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        answer
    }

    fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

fn statuses(answers: &str) -> Vec<u16> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_told_and_cut() {
    let mut link = Link::open();
    link.send("GET / HT").await;
    let told = link.rest().await;
    assert_eq!((statuses(&told), link.seconds()), (vec![408], 10), "{told}");
    assert!(told.contains(r#""code":"request_timeout""#) && told.contains("connection: close"), "{told}");

    // Byte by byte does not buy time.
    let mut link = Link::open();
    for byte in GET.bytes().take(4) {
        link.send(&char::from(byte).to_string()).await;
        sleep(Duration::from_secs(3)).await;
    }
    assert_eq!((statuses(&link.rest().await), link.seconds()), (vec![408], 12), "cut at 10 s, seen at 12 s");

    // Neither does a good request before it.
    let mut link = Link::open();
    link.send(&format!("{GET}GET")).await;
    assert_eq!((statuses(&link.rest().await), link.seconds()), (vec![200, 408], 10));
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let mut link = Link::open();
    assert_eq!((link.rest().await.as_str(), link.seconds()), ("", 10));
    link.tasks.wait().await;
    assert_eq!(link.counts.cuts("idle"), 1);

    let mut link = Link::open();
    sleep(Duration::from_secs(9)).await;
    link.send(GET).await;
    link.until("hi").await;
    sleep(Duration::from_secs(74)).await;
    link.send(GET).await;
    link.until("hi").await;
    assert_eq!((link.rest().await.as_str(), link.seconds()), ("", 9 + 74 + 75));
    link.tasks.wait().await;
    assert_eq!(link.counts.cuts("idle"), 1);

    // What takes long here is not the client's fault.
    let mut link = Link::open();
    link.send("GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!((statuses(&link.rest().await), link.seconds()), (vec![200], 300));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_cut() {
    let mut link = Link::open();
    link.send("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    link.tasks.wait().await;
    assert_eq!((link.counts.cuts("send"), link.seconds()), (1, 30));

    // Slow is not nothing.
    let mut link = Link::open();
    link.send("GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    for _ in 0..10 {
        sleep(Duration::from_secs(20)).await;
        assert!(link.client.read(&mut [0; 1024]).await.unwrap() > 0);
    }
    assert!(!link.tasks.is_empty());
}

#[tokio::test]
async fn each_request_has_one_answer_in_its_turn() {
    let check = async |asked: &str, expected: &[u16]| {
        let mut link = Link::open();
        link.send(asked).await;
        let answers = link.rest().await;
        assert_eq!(statuses(&answers), expected, "{asked:?}: {answers}");
    };
    let last = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let echo = "POST /echo HTTP/1.1\r\nhost: x\r\n";
    check(&format!("{GET}{GET}{last}"), &[200, 200, 200]).await;
    check(&format!("{GET}{GET}\r\n{last}"), &[200, 200, 400]).await;
    check(&format!("{echo}content-length: 5\r\n\r\nhello{last}"), &[200, 200]).await;
    check(&format!("{echo}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{last}"), &[200, 200]).await;
    // The bytes after a body are never its next request by mistake.
    check(&format!("{echo}content-length: 4\r\n\r\nhell {last}"), &[200, 400]).await;
    check(&format!("{echo}content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{last}"), &[400]).await;
    check(&format!("{echo}transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n{last}"), &[400]).await;
    check(&format!("{echo}transfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n{last}"), &[400]).await;
    check(&format!("{echo}transfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n{last}"), &[400]).await;
    check(&format!("{echo}transfer-encoding: chunked\r\n\r\n5\r\nhelloGET / HTTP/1.1\r\n\r\n"), &[400]).await;
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]).await;
}

/// What comes while an answer is being sent waits, whatever it is.
#[tokio::test(start_paused = true)]
async fn a_bad_request_behind_a_slow_answer_does_not_cut_it() {
    let mut link = Link::open();
    link.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/9.9\r\n\r\n").await;
    let answers = link.rest().await;
    assert_eq!((statuses(&answers), link.seconds()), (vec![200, 505], 300), "{answers}");
}

async fn over_sockets(limits: Limits) -> (SocketAddr, TaskTracker, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(serve(listener, app(), limits, stop.clone()));
    tasks.close();
    (address, tasks, stop)
}

async fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..read].to_vec()).unwrap()
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let (address, tasks, stop) = over_sockets(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut first, GET).await.starts_with("HTTP/1.1 200"));
    let mut second = TcpStream::connect(address).await.unwrap();
    let refused = ask(&mut second, GET).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains(r#""code":"overloaded""#), "{refused}");
    assert!(refused.contains("\r\nx-content-type-options: nosniff\r\n"), "{refused}");
    stop.cancel();
    tasks.wait().await;
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let (address, tasks, stop) = over_sockets(Limits { per_address: 1, ..Limits::default() }).await;
    let from = async |source: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(source.parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap()
    };
    let mut first = from("127.0.0.2:0").await;
    assert!(ask(&mut first, GET).await.starts_with("HTTP/1.1 200"));
    let refused = ask(&mut from("127.0.0.2:0").await, GET).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains(r#""scope":"ip""#), "{refused}");
    let mut others = [from("127.0.0.3:0").await, from("127.0.0.1:0").await, from("127.0.0.1:0").await];
    for other in &mut others {
        assert!(ask(other, GET).await.starts_with("HTTP/1.1 200"));
    }
    stop.cancel();
    tasks.wait().await;
}

/// The answer is there to read although most of what was sent was never looked at.
#[tokio::test]
async fn a_refusal_is_not_lost_in_a_reset() {
    let (address, tasks, stop) = over_sockets(Limits::default()).await;
    let large = "x".repeat(100_000);
    for (text, status) in [
        (format!("GET /{large} HTTP/1.1\r\nhost: x\r\n\r\n"), "414"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(5000)), "431"),
        (format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{large}"), "400"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let head = answer.split_once("\r\n\r\n").unwrap().0;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        for header in ["x-request-id: ", "content-type: application/problem+json", "cache-control: no-store"] {
            assert!(head.contains(header), "{header} in {head}");
        }
    }
    stop.cancel();
    tasks.wait().await;
}

/// A handler may answer without a look at the body. What still comes of it is thrown away for a moment, since a close
/// upon it would be a reset, which many clients report in the place of the answer.
#[tokio::test(start_paused = true)]
async fn an_early_answer_is_not_lost_in_a_reset() {
    for framing in ["content-length: 100000\r\n\r\n", "transfer-encoding: chunked\r\n\r\n186a0\r\n"] {
        let mut link = Link::open();
        link.send(&format!("POST /early HTTP/1.1\r\nhost: x\r\n{framing}{}", "x".repeat(10_000))).await;
        assert_eq!(statuses(&link.rest().await), [401], "{framing}");
        link.send(&"x".repeat(80_000)).await;
        link.tasks.wait().await;
        assert_eq!(link.seconds(), 0, "for a moment only");
        link.client.write_all(b"x").await.unwrap_err();
    }
}

/// A connection is counted until its end, also when that is a panic; and a stop ends one that has not agreed on TLS.
#[tokio::test]
async fn no_connection_is_counted_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let pair = rcgen::generate_simple_self_signed(["chat.example".to_owned()]).unwrap();
    std::fs::write(&certificate, pair.cert.pem()).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    for tls in [None, Some(Tls::load(&certificate, &key).unwrap())] {
        let secure = tls.is_some();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, stop) = (Counts::default(), CancellationToken::new());
        let server = Server { tls, counts: counts.clone(), ..Server::default() };
        let server = TaskTracker::new().spawn(server.run(listener, app(), stop.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        if secure {
            while counts.open_now() == 0 {
                tokio::task::yield_now().await;
            }
        } else {
            client.write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0, "it ends without an answer");
        }
        stop.cancel();
        assert_eq!(server.await.unwrap(), 0);
        assert_eq!((counts.open_now(), counts.cuts("handshake")), (0, 0), "tls: {secure}");
    }
}

/// Half a kilobyte of text is our own; nothing of the request comes back.
#[test]
fn problems_are_json_of_our_own_words() {
    for refusal in
        [Refusal::Malformed("x"), Refusal::TargetTooLong, Refusal::HeadTooLarge, Refusal::Version, Refusal::Slow]
    {
        let (status, code, title, detail) = refusal.face();
        assert!(!format!("{code}{title}{detail}").contains(['"', '\\']));
        let text = problem(status, code, title, detail, "", "id");
        assert!(text.starts_with(r#"{"type":"about:blank","title":""#) && text.ends_with(r#","request_id":"id"}"#));
    }
}
