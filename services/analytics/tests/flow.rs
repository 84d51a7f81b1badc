//! Facts from the bus to the rows, over both buses and with a real file.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use analytics::{Config, Error, Health, Store, query::Range};
use bus::{Bus, testing::NatsServer};
use clap::Parser as _;
use protocol::{
    Charges, Count, CountsAsk, Fact, FactKind, FinishReason, Key, MessageId, Millis, SessionId, SiteId, Tier, Visit,
};
use runtime::{http::Counts, metrics::Metrics};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A bus for an edge and for two analytics, one after the other, and a folder for their file.
struct Deployment {
    edge: Bus,
    analytics: Bus,
    next_analytics: Bus,
    folder: TempDir,
    _server: Option<NatsServer>,
}

impl Deployment {
    #[expect(clippy::unused_async, reason = "its twin waits")]
    async fn local() -> Self {
        let bus = Bus::local(&bus::Config::default());
        Self {
            edge: bus.clone(),
            analytics: bus.clone(),
            next_analytics: bus,
            folder: tempfile::tempdir().unwrap(),
            _server: None,
        }
    }

    async fn nats() -> Self {
        let config = bus::Config::default();
        let server = NatsServer::start().await;
        server.set_up(&config).await;
        Self {
            edge: server.bus(&config, "edge").await,
            analytics: server.bus(&config, "analytics").await,
            next_analytics: server.bus(&config, "analytics").await,
            folder: tempfile::tempdir().unwrap(),
            _server: Some(server),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("analytics.redb")
    }
}

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// Settings as the command line would make them.
fn config(file: &Path) -> Config {
    // The sessions of these stories are older than any retention.
    let args = ["analytics", "--analytics-retention-days", "0", "--analytics-db-path"].map(OsStr::new);
    Cli::parse_from(args.into_iter().chain([file.as_os_str()])).config
}

/// Makes two tests of one story.
macro_rules! story {
    ($(#[doc = $doc:literal])* $name:ident, $story:expr) => {
        $(#[doc = $doc])*
        mod $name {
            use super::*;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_the_process() {
                let story: fn(Deployment) -> _ = $story;
                within_90_seconds(story(Deployment::local().await)).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_nats() {
                let story: fn(Deployment) -> _ = $story;
                within_90_seconds(story(Deployment::nats().await)).await;
            }
        }
    };
}

async fn within_90_seconds(story: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(90), story).await.expect("the story ends in time");
}

/// Analytics as `frontdesk analytics` runs it: the recorder, with health and metrics beside it.
struct Analytics {
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    ended: JoinHandle<Result<(), Error>>,
}

impl Analytics {
    async fn start(file: &Path, bus: &Bus) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (metrics, health, stop, tasks) =
            (Metrics::new(None), Health::default(), CancellationToken::new(), TaskTracker::new());
        let config = config(file);
        tasks.spawn(analytics::serve(
            listener,
            config.clone(),
            health.clone(),
            health.ready(bus),
            metrics.clone(),
            Counts::default(),
            stop.clone(),
        ));
        let ended = tasks.spawn({
            let (bus, stop) = (bus.clone(), stop.clone());
            async move { analytics::run(config, bus, &health, &metrics, stop).await }
        });
        Self { addr, stop, tasks, ended }
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: analytics\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Waits until that many facts of a kind have had an outcome.
    async fn until(&self, kind: &str, outcome: &str, count: usize) {
        let line = format!("frontdesk_analytics_facts_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {count}\n");
        while !self.get("/metrics").await.contains(&line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the metrics have this line.
    async fn until_metric(&self, line: &str) {
        while !self.get("/metrics").await.contains(&format!("{line}\n")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.ended.await.unwrap().unwrap();
    }
}

fn site() -> SiteId {
    SiteId::new("default").unwrap()
}

fn session() -> SessionId {
    SessionId::mint(1_767_168_909, 1)
}

fn accepted(n: usize) -> Fact {
    let message_id = MessageId::new(&format!("message-{n}")).unwrap();
    Fact::now(&site(), &session(), FactKind::MessageAccepted { message_id, chars: 3 })
}

fn ended(n: usize) -> Fact {
    let kind = FactKind::ReplyEnded {
        message_id: MessageId::new(&format!("message-{n}")).unwrap(),
        chunks: 2,
        finish_reason: FinishReason::Stop,
        first_chunk_ms: Some(20),
        duration_ms: 90,
    };
    Fact::now(&site(), &session(), kind)
}

story!(
    /// What an edge tells is in the rows, and the edge sees that somebody listens.
    facts_become_rows,
    |d| async move {
        let analytics = Analytics::start(&d.file(), &d.analytics).await;
        let page_path = Some("/shoes".to_owned());
        d.edge.tell(Fact::now(&site(), &session(), FactKind::SessionStarted(Visit { page_path, ..Visit::default() })));
        for n in 0..500 {
            d.edge.tell(accepted(n));
            d.edge.tell(ended(n));
        }
        analytics.until("session_started", "applied", 1).await;
        analytics.until("message_accepted", "applied", 500).await;
        analytics.until("reply_ended", "applied", 500).await;
        assert!(analytics.get("/health/ready").await.starts_with("HTTP/1.1 200 "));
        while !d.edge.presence().analytics {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        analytics.stop().await;

        let store = Store::open(&d.file()).unwrap();
        let row = store.session(&site(), &session()).unwrap().unwrap().row;
        assert_eq!(row.page_path.as_deref(), Some("/shoes"));
        assert_eq!((row.messages, row.ended, row.chunks), (500, 500, 1_000));
        let ever = Range { from: Millis(0), until: Millis::now().after(Duration::from_secs(60)) };
        let sum = store.summary(None, ever).unwrap();
        assert_eq!((sum.sessions, sum.messages, sum.duration_ms.count), (1, 500, 500));
    }
);

story!(
    /// Analytics dies after its commit and before its acknowledgement: the facts come again (over NATS after half a
    /// minute, the consumer's patience) and count once.
    what_comes_again_counts_once,
    |d| async move {
        {
            let store = Store::open(&d.file()).unwrap();
            let (mut facts, mut unacknowledged, mut count) = (d.analytics.facts(), Vec::new(), 0);
            for n in 0..20 {
                d.edge.tell(accepted(n));
            }
            while count < 20 {
                let batch = facts.next_batch(1_000).await;
                store.apply(&batch.facts).unwrap();
                count += batch.facts.len();
                unacknowledged.push(batch);
            }
        }
        let analytics = Analytics::start(&d.file(), &d.next_analytics).await;
        d.edge.tell(accepted(20));
        analytics.until("message_accepted", "repeated", 20).await;
        analytics.until("message_accepted", "applied", 1).await;
        analytics.stop().await;

        let row = Store::open(&d.file()).unwrap().session(&site(), &session()).unwrap().unwrap().row;
        assert_eq!(row.messages, 21);
    }
);

/// Asks until analytics tells, which over NATS it can't before its subscription is there.
async fn counts(bus: &Bus, tier: Tier) -> Vec<Count> {
    let ask = CountsAsk { v: 1, tier, from: 0 };
    loop {
        if let Some(counts) = bus.counts(&ask, Duration::from_secs(20)).await.unwrap() {
            return counts.counts;
        }
    }
}

story!(
    /// What edges counted is known again after a restart of analytics, and to the edge that asks.
    counts_of_limits_outlive_analytics,
    |d| async move {
        let charge = |tier, key, units, reset_ms| {
            let (edge, charges) = ("edge-1".to_owned(), vec![(Key(key), units)]);
            assert!(d.edge.charge(&Charges { v: 1, edge, tier, charges, resets: vec![reset_ms] }));
        };
        let analytics = Analytics::start(&d.file(), &d.analytics).await;
        assert_eq!(counts(&d.edge, Tier::IpDay).await, []);
        charge(Tier::IpDay, 7, 3, 80_000_000);
        charge(Tier::IpDay, 7, 2, 80_000_000);
        charge(Tier::Ip, 7, 2, 59_000);
        let told = counts(&d.edge, Tier::IpDay).await;
        assert!(matches!(told[..], [Count(Key(7), 5, 70_000_000..=80_000_000)]), "{told:?}");
        analytics.until_metric("frontdesk_analytics_limit_charges_total 7").await;
        analytics.stop().await;

        let analytics = Analytics::start(&d.file(), &d.next_analytics).await;
        analytics.until_metric("frontdesk_analytics_limit_keys 2").await;
        let told = counts(&d.edge, Tier::IpDay).await;
        assert!(matches!(told[..], [Count(Key(7), 5, 70_000_000..=80_000_000)]), "{told:?}");
        let told = counts(&d.edge, Tier::Ip).await;
        assert!(matches!(told[..], [Count(Key(7), 0, 1..=59_000)]), "{told:?}");
        charge(Tier::IpDay, 7, 1, 80_000_000);
        assert_eq!(counts(&d.edge, Tier::IpDay).await[0].1, 6);
        analytics.stop().await;
    }
);

/// A file that can't be used stops the start, with a sentence.
#[tokio::test]
async fn a_file_in_use_stops_the_start() {
    let d = Deployment::local().await;
    let _other = Store::open(&d.file()).unwrap();
    let config = config(&d.file());
    let health = Health::default();
    let refused =
        analytics::run(config, d.analytics.clone(), &health, &Metrics::new(None), CancellationToken::new()).await;
    let sentence = refused.unwrap_err().to_string();
    assert!(sentence.ends_with("is open in another process; each analytics needs a file of its own"), "{sentence}");
    assert!(health.check().is_err());
}
