//! The API over a real socket, with the store that a recorder fills at the same time.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use analytics::{Config, Error, Health, Store};
use bus::Bus;
use clap::Parser as _;
use protocol::{Fact, FactKind, MessageId, SessionId, SiteId, Visit};
use runtime::{http::Counts, metrics::Metrics};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const ADMIN: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
const LIMIT: Duration = Duration::from_secs(60);
/// What the server sends at once, at most; see its documentation.
const STREAMS: usize = 4;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

struct Analytics {
    addr: SocketAddr,
    bus: Bus,
    stop: CancellationToken,
    tasks: TaskTracker,
    ended: JoinHandle<Result<(), Error>>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Analytics {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("facts.redb");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let args = ["analytics", "--admin-token", ADMIN, "--analytics-db-path", file.to_str().unwrap()];
        let config = Cli::parse_from(args).config;
        let (bus, metrics, health) = (Bus::local(&bus::Config::default()), Metrics::new(None), Health::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(analytics::serve(
            listener,
            config.clone(),
            health.clone(),
            health.ready(&bus),
            metrics.clone(),
            Counts::default(),
            stop.clone(),
        ));
        let ended = tasks.spawn({
            let (bus, stop) = (bus.clone(), stop.clone());
            async move { analytics::run(config, bus, &health, &metrics, stop).await }
        });
        let analytics = Self { addr, bus, stop, tasks, ended, file, _folder: folder };
        analytics.until("/health/ready", |answer| answer.status == 200).await;
        analytics
    }

    /// Sends a request and leaves it to the caller to read the answer. HTTP/1.0: the answer ends with the connection.
    async fn ask(&self, target: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        // So that an answer which nobody reads is soon stuck.
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let mut stream = socket.connect(self.addr).await.unwrap();
        let request = format!("GET {target} HTTP/1.0\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, target: &str) -> Answer {
        Answer::read(self.ask(target).await).await
    }

    async fn until(&self, target: &str, what: impl Fn(&Answer) -> bool) {
        let wait = async {
            while !what(&self.get(target).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("it comes about");
    }

    /// So many sessions, each with a page of some length.
    async fn fill(&self, sessions: u64) {
        for n in 0..sessions {
            let visit = Visit { page_path: Some(format!("/{}", "x".repeat(200))), ..Visit::default() };
            self.bus.tell(Fact::now(&site(), &session(n), FactKind::SessionStarted(visit)));
            // The bus holds 10,000.
            if n % 2_000 == 1_999 {
                let told = n + 1;
                self.until("/api/v1/analytics/summary", |answer| answer.json()["sessions"] == told).await;
            }
        }
        self.until("/api/v1/analytics/summary", |answer| answer.json()["sessions"] == sessions).await;
    }
}

struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Self {
        let mut answer = String::new();
        let read = tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer));
        read.await.expect("it answers in time").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.expect("and a status"), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }
}

fn site() -> SiteId {
    SiteId::new("default").unwrap()
}

/// Sessions of the last minutes.
fn session(n: u64) -> SessionId {
    let now = u64::try_from(protocol::Millis::now().0).unwrap() / 1000;
    SessionId::mint(now - n % 60, n)
}

/// What is told is seen a moment later, at the address of health and metrics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_is_seen() {
    let analytics = Analytics::start().await;
    let message =
        |n: u64| FactKind::MessageAccepted { message_id: MessageId::new(&format!("message-{n}")).unwrap(), chars: 3 };
    for n in 0..3 {
        analytics.bus.tell(Fact::now(&site(), &session(1), message(n)));
    }
    analytics.until("/api/v1/analytics/summary", |answer| answer.json()["messages"] == 3).await;
    let list = analytics.get("/api/v1/analytics/sessions").await.json();
    assert_eq!((&list["sessions"][0]["messages"], &list["next"]), (&Value::from(3), &Value::Null));
    let metrics = analytics.get("/metrics").await.body;
    assert!(metrics.contains("frontdesk_analytics_api_requests_total{route=\"/api/v1/analytics/sessions\",method=\"GET\",status=\"200\"} 1\n"), "{metrics}");
    assert_eq!(analytics.get(&format!("/{}", "x".repeat(9_000))).await.status, 414);
    analytics.stop.cancel();
    analytics.ended.await.unwrap().unwrap();
}

/// Clients that take nothing of their files hold a place each, and nothing else: figures are read as before, one more
/// file is refused, and the places are free when they leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_hold_their_places_alone() {
    let analytics = Analytics::start().await;
    analytics.fill(20_000).await;
    let export = "/api/v1/analytics/export?what=sessions";
    let mut slow = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = analytics.ask(export).await;
        // The place is taken when the answer begins.
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.0 200");
        slow.push(stream);
    }
    let one_more = analytics.get(export).await;
    assert_eq!((one_more.status, &one_more.json()["code"]), (503, &Value::from("overloaded")));
    assert_eq!(analytics.get("/api/v1/analytics/summary").await.json()["sessions"], 20_000);
    slow.pop();
    analytics.until(export, |answer| answer.status == 200 && answer.body.lines().count() == 20_001).await;
    analytics.stop.cancel();
    analytics.ended.await.unwrap().unwrap();
}

/// A client that holds on does not hold up the stop, and the file is free after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_waits_for_no_reader() {
    let analytics = Analytics::start().await;
    analytics.fill(20_000).await;
    let mut stream = analytics.ask("/api/v1/analytics/export?what=sessions").await;
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    analytics.stop.cancel();
    analytics.tasks.close();
    tokio::time::timeout(LIMIT, analytics.tasks.wait()).await.expect("it stops");
    analytics.ended.await.unwrap().unwrap();
    let mut rest = Vec::new();
    // Cut, in whatever way.
    stream.read_to_end(&mut rest).await.ok();
    assert!(rest.len() < 20_000 * 200, "it was not sent to its end: {}", rest.len());
    assert_eq!(Store::open(&analytics.file).unwrap().sites().unwrap(), [site()]);
}
