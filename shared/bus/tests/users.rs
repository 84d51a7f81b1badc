//! The users of the shipped nats-server configuration, at a real nats-server: each may do its job and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::time::Duration;

use async_nats::{
    ConnectOptions, Event,
    jetstream::{self, stream},
};
use bus::{
    Bus, Config, ConnectError, Setup,
    testing::{NatsServer, ROLES, SHIPPED, user},
};
use futures_util::StreamExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

const LIMIT: Duration = Duration::from_secs(20);

/// One thing that a client does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Publish(&'static str),
    Subscribe(&'static str),
}
use Act::{Publish, Subscribe};

/// A client of one user, which hears what the server refuses it.
struct Client {
    nats: async_nats::Client,
    refused: mpsc::UnboundedReceiver<String>,
}

impl Client {
    async fn of(server: &NatsServer, role: &str) -> Self {
        let (tell, refused) = mpsc::unbounded_channel();
        let password = user(role).nats_password.unwrap().expose_secret().to_owned();
        let options = ConnectOptions::with_user_and_password(role.to_owned(), password)
            .custom_inbox_prefix(format!("_INBOX.{role}"))
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    tell.send(error.to_string()).ok();
                }
                std::future::ready(())
            });
        Self { nats: options.connect(server.url()).await.expect("the user is known"), refused }
    }

    async fn act(&self, act: Act) {
        match act {
            Publish(subject) => self.nats.publish(subject, "x".into()).await.unwrap(),
            // Dropping it would unsubscribe, which is as good: the server has looked at it by then.
            Subscribe(subject) => drop(self.nats.subscribe(subject).await.unwrap()),
        }
    }

    async fn next_refusal(&mut self) -> String {
        tokio::time::timeout(LIMIT, self.refused.recv()).await.expect("nothing was refused").unwrap()
    }

    /// What was refused until now. The server says it in order, so what comes before a thing that is surely refused is
    /// all.
    async fn refusals(&mut self) -> Vec<String> {
        self.act(Publish("nobody.may.do.this")).await;
        let mut refusals = Vec::new();
        loop {
            let refusal = self.next_refusal().await;
            if refusal.contains("nobody.may.do.this") {
                return refusals;
            }
            refusals.push(refusal);
        }
    }
}

/// What an attacker would do who has taken over a process of that role.
const FORBIDDEN: &[(&str, &[Act])] = &[
    (
        "edge",
        &[
            // Speaking for a worker, or for the server.
            Publish("status.worker.w1"),
            Publish("status.analytics.a1"),
            Publish("_INBOX.worker.x"),
            Publish("$SYS.REQ.SERVER.PING"),
            // Taking messages, or reading what is not an edge's.
            Publish("$JS.API.CONSUMER.MSG.NEXT.REQ.workers"),
            Publish("$JS.API.CONSUMER.INFO.REQ.workers"),
            Publish("$JS.ACK.REQ.workers.1.1.1.1.0"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.FACTS.recorder"),
            Publish("$JS.API.STREAM.MSG.GET.FACTS"),
            Publish("$JS.API.DIRECT.GET.FACTS"),
            Publish("$JS.API.STREAM.MSG.GET.PROOF"),
            Publish("$JS.API.DIRECT.GET.SNAP"),
            // Changing streams.
            Publish("$JS.API.STREAM.CREATE.MINE"),
            Publish("$JS.API.STREAM.UPDATE.REQ"),
            Publish("$JS.API.STREAM.DELETE.REQ"),
            Publish("$JS.API.STREAM.PURGE.REQ"),
            Publish("$JS.API.STREAM.PURGE.SNAP"),
            Publish("$JS.API.STREAM.MSG.DELETE.PROOF"),
            Publish("$JS.API.STREAM.MSG.DELETE.ENDED"),
            Publish("$JS.API.STREAM.SNAPSHOT.SNAP"),
            Publish("$JS.API.STREAM.NAMES"),
            Publish("$JS.API.CONSUMER.CREATE.REQ.mine"),
            Publish("$JS.API.CONSUMER.CREATE.SNAP"),
            Publish("$JS.API.CONSUMER.DELETE.REQ.workers"),
            // Listening in.
            Subscribe(">"),
            Subscribe("*.*.*"),
            Subscribe("chat.>"),
            Subscribe("chat.*.sess_1"),
            Subscribe("chat.req.*"),
            Subscribe("chat.snap.*"),
            Subscribe("chat.ask.*"),
            Subscribe("chat.ctl.*"),
            Subscribe("proof.*"),
            Subscribe("fact.*.*"),
            // Telling other edges what was counted, in the place of who keeps it.
            Subscribe("limit.snapshot"),
            Subscribe("limit.>"),
            Subscribe("_INBOX.>"),
            Subscribe("_INBOX.worker.>"),
            Subscribe("_INBOX.*.>"),
            Subscribe("$JS.>"),
            Subscribe("$SYS.>"),
        ],
    ),
    (
        "worker",
        &[
            // Speaking for an edge, or answering whom nobody asked.
            Publish("chat.req.sess_1"),
            Publish("chat.ctl.sess_1"),
            Publish("chat.end.sess_1"),
            Publish("proof.x"),
            Publish("limit.charge.ip"),
            Publish("limit.snapshot"),
            Publish("fact.default.session_started"),
            Publish("fact.default.message_accepted"),
            Publish("fact.default.message_pushed"),
            Publish("fact.default.reply_rated"),
            Publish("fact.default.calls_refused"),
            Publish("fact.default.session_ended"),
            Publish("status.analytics.a1"),
            Publish("_INBOX.edge.x"),
            // Reading or taking what is not a worker's.
            Publish("$JS.API.STREAM.MSG.GET.REQ"),
            Publish("$JS.API.STREAM.MSG.DELETE.REQ"),
            Publish("$JS.API.STREAM.MSG.GET.ENDED"),
            Publish("$JS.API.STREAM.MSG.GET.FACTS"),
            Publish("$JS.API.DIRECT.GET.SNAP"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.FACTS.recorder"),
            Publish("$JS.API.STREAM.CREATE.MINE"),
            Publish("$JS.API.STREAM.PURGE.SNAP"),
            Publish("$JS.API.CONSUMER.CREATE.REQ.mine"),
            Subscribe(">"),
            Subscribe("chat.>"),
            Subscribe("chat.req.*"),
            Subscribe("chat.ev.*"),
            Subscribe("chat.snap.*"),
            Subscribe("chat.end.*"),
            Subscribe("limit.charge.*"),
            Subscribe("limit.snapshot"),
            Subscribe("status.analytics.*"),
            Subscribe("_INBOX.>"),
            Subscribe("_INBOX.edge.>"),
        ],
    ),
    (
        "analytics",
        &[
            Publish("chat.req.sess_1"),
            Publish("chat.ev.sess_1"),
            Publish("chat.snap.sess_1"),
            Publish("chat.ctl.sess_1"),
            Publish("chat.end.sess_1"),
            Publish("fact.default.session_started"),
            Publish("limit.charge.ip"),
            Publish("limit.snapshot"),
            Publish("status.worker.w1"),
            Publish("_INBOX.edge.x"),
            Publish("$JS.API.STREAM.MSG.GET.SNAP"),
            Publish("$JS.API.DIRECT.GET.SNAP.chat.snap.sess_1"),
            Publish("$JS.API.STREAM.MSG.GET.REQ"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.REQ.workers"),
            Publish("$JS.API.STREAM.DELETE.FACTS"),
            Publish("$JS.API.STREAM.PURGE.FACTS"),
            Publish("$JS.API.CONSUMER.CREATE.FACTS.mine"),
            Subscribe(">"),
            Subscribe("chat.>"),
            Subscribe("chat.ev.*"),
            Subscribe("fact.*.*"),
            Subscribe("limit.>"),
            Subscribe("_INBOX.>"),
            Subscribe("_INBOX.edge.>"),
        ],
    ),
    (
        "admin",
        &[
            // Makes streams, and neither fills nor reads nor empties them.
            Publish("chat.req.sess_1"),
            Publish("chat.ev.sess_1"),
            Publish("chat.snap.sess_1"),
            Publish("fact.default.session_started"),
            Publish("$JS.API.STREAM.MSG.GET.SNAP"),
            Publish("$JS.API.STREAM.MSG.GET.REQ"),
            Publish("$JS.API.DIRECT.GET.SNAP.chat.snap.sess_1"),
            Publish("$JS.API.STREAM.SNAPSHOT.SNAP"),
            Publish("$JS.API.STREAM.PURGE.FACTS"),
            Publish("$JS.API.STREAM.DELETE.FACTS"),
            Publish("$JS.API.STREAM.DELETE.SNAP"),
            Publish("$JS.API.CONSUMER.CREATE.SNAP.mine"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.REQ.workers"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.FACTS.recorder"),
            Subscribe(">"),
            Subscribe("chat.>"),
            Subscribe("chat.req.*"),
            Subscribe("fact.*.*"),
            Subscribe("_INBOX.>"),
            Subscribe("_INBOX.edge.>"),
        ],
    ),
];

/// What each needs, so that no refusal above is one of everything.
const ALLOWED: &[(&str, &[Act])] = &[
    (
        "edge",
        &[
            Publish("chat.req.sess_1"),
            Publish("chat.snap.sess_1"),
            Publish("chat.ask.sess_1"),
            Publish("chat.ctl.sess_1"),
            Publish("chat.ev.sess_1"),
            Publish("chat.end.sess_1"),
            Publish("proof.0a1b"),
            Publish("limit.charge.ip"),
            Publish("limit.snapshot"),
            Publish("fact.default.session_started"),
            Publish("fact.default.reply_rated"),
            Publish("fact.default.calls_refused"),
            Publish("$JS.API.STREAM.MSG.GET.ENDED"),
            Publish("$JS.API.STREAM.MSG.GET.REQ"),
            Publish("$JS.API.STREAM.MSG.DELETE.REQ"),
            Publish("$JS.API.DIRECT.GET.SNAP.chat.snap.sess_1"),
            Publish("$JS.API.STREAM.MSG.GET.SNAP"),
            Publish("$JS.API.STREAM.INFO.SNAP"),
            Subscribe("chat.ev.sess_1"),
            Subscribe("chat.end.*"),
            Subscribe("limit.charge.*"),
            Subscribe("status.worker.*"),
            Subscribe("status.analytics.*"),
            Subscribe("_INBOX.edge.abc.*"),
        ],
    ),
    (
        "worker",
        &[
            Publish("chat.ev.sess_1"),
            Publish("chat.ask.sess_1"),
            Publish("chat.snap.sess_1"),
            Publish("status.worker.w1"),
            Publish("fact.default.reply_ended"),
            Publish("fact.default.reply_failed"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.REQ.workers"),
            Publish("$JS.API.CONSUMER.INFO.REQ.workers"),
            Publish("$JS.ACK.REQ.workers.1.1.1.1.0"),
            Publish("$JS.ACK._.hash.REQ.workers.1.1.1.1.0.token"),
            Subscribe("chat.ask.sess_1"),
            Subscribe("chat.ctl.sess_1"),
            Subscribe("status.worker.*"),
        ],
    ),
    (
        "analytics",
        &[
            Publish("status.analytics.a1"),
            Publish("$JS.API.CONSUMER.INFO.FACTS.recorder"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.FACTS.recorder"),
            Publish("$JS.ACK.FACTS.recorder.1.1.1.1.0"),
            Subscribe("limit.charge.*"),
            Subscribe("limit.snapshot"),
        ],
    ),
    (
        "admin",
        &[
            Publish("$JS.API.STREAM.INFO.REQ"),
            Publish("$JS.API.STREAM.CREATE.REQ"),
            Publish("$JS.API.STREAM.DELETE.PROOF"),
        ],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_role_must_not_do_is_refused() {
    let server = NatsServer::start_guarded().await;
    server.set_up(&Config::default()).await;
    for (role, acts) in FORBIDDEN {
        let mut client = Client::of(&server, role).await;
        for act in *acts {
            client.act(*act).await;
            let (kind, subject) = match act {
                Publish(subject) => ("Publish", subject),
                Subscribe(subject) => ("Subscription", subject),
            };
            let expected = format!("Permissions Violation for {kind} to \"{subject}\"");
            let refusal = client.next_refusal().await;
            assert!(refusal.contains(&expected), "{role}: {act:?} and then {refusal:?}");
        }
    }
    let count: usize = FORBIDDEN.iter().map(|(_, acts)| acts.len()).sum();
    assert!(count > 100, "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_role_needs_is_allowed() {
    let server = NatsServer::start_guarded().await;
    server.set_up(&Config::default()).await;
    for (role, acts) in ALLOWED {
        let mut client = Client::of(&server, role).await;
        for act in *acts {
            client.act(*act).await;
        }
        assert_eq!(client.refusals().await, Vec::<String>::new(), "{role}");
    }
}

/// An allow of `x.*` lets a subscription to `x.>` through; what lies deeper still does not come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wider_subscription_hears_nothing_deeper() {
    let anybody = "users: [\n    { user: \"anybody\", password: \"pw-of-anybody\" }";
    let config = SHIPPED.replace("users: [", anybody);
    assert_ne!(config, SHIPPED);
    let server = NatsServer::start_with(&config, user("admin")).await;
    let anybody = Client::of(&server, "anybody").await;
    for (role, wide, deep, flat) in [
        ("edge", "chat.ev.>", "chat.ev.sess_1.deeper", "chat.ev.sess_1"),
        ("edge", "chat.end.>", "chat.end.sess_1.deeper", "chat.end.sess_1"),
        ("edge", "limit.charge.>", "limit.charge.ip.deeper", "limit.charge.ip"),
        ("worker", "chat.ask.>", "chat.ask.sess_1.deeper", "chat.ask.sess_1"),
        ("worker", "status.worker.>", "status.worker.w1.deeper", "status.worker.w1"),
        ("analytics", "limit.charge.>", "limit.charge.ip.deeper", "limit.charge.ip"),
    ] {
        let mut client = Client::of(&server, role).await;
        let mut wide = client.nats.subscribe(wide).await.unwrap();
        // The server has it once it has answered to what came after.
        client.refusals().await;
        anybody.nats.publish(deep, "x".into()).await.unwrap();
        anybody.nats.publish(flat, "x".into()).await.unwrap();
        let heard = tokio::time::timeout(LIMIT, wide.next()).await.expect("the flat one comes").unwrap();
        assert_eq!(heard.subject.as_str(), flat, "{role}");
    }
}

/// A worker, or analytics, may answer who asked, once, and nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_goes_only_to_who_asked() {
    let server = NatsServer::start_guarded().await;
    let edge = Client::of(&server, "edge").await;
    for (role, subject) in [("worker", "chat.ask.sess_1"), ("analytics", "limit.snapshot")] {
        let mut asked = Client::of(&server, role).await;
        let mut asks = asked.nats.subscribe(subject).await.unwrap();
        assert_eq!(asked.refusals().await, Vec::<String>::new());
        let answer = async {
            let ask = tokio::time::timeout(LIMIT, asks.next()).await.expect("it was asked").unwrap();
            let to = ask.reply.unwrap();
            asked.nats.publish(to.clone(), "the answer".into()).await.unwrap();
            to
        };
        let (answered, to) = tokio::join!(edge.nats.request(subject, "from 3".into()), answer);
        assert_eq!(answered.unwrap().payload, "the answer");
        asked.nats.publish(to, "one more".into()).await.unwrap();
        assert!(asked.next_refusal().await.contains("Permissions Violation"));
    }
}

/// Where a stream is kept can't be changed. `PROOF`, whose content is soon worthless, is made anew; `SNAP` is left to
/// the operator, who is told what to do once all the rest is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_another_storage_stops_nothing_else() {
    let server = NatsServer::start_guarded().await;
    let (admin, analytics) = (Client::of(&server, "admin").await, Client::of(&server, "analytics").await);
    let (admin, analytics) = (jetstream::new(admin.nats), jetstream::new(analytics.nats));
    let in_memory = async |name: &str, subject: &str| {
        let (name, subjects) = (name.to_owned(), vec![subject.to_owned()]);
        let storage = stream::StorageType::Memory;
        admin.create_stream(stream::Config { name, subjects, storage, ..Default::default() }).await.unwrap();
    };
    in_memory("PROOF", "proof.*").await;
    in_memory("SNAP", "chat.snap.*").await;
    let set_up = async |snapshots_on_disk: bool, nats_replicas: usize| {
        let facts_max_bytes = bytesize::ByteSize::mib(64);
        let wanted = Setup { nats_replicas, snapshots_on_disk, facts_max_bytes };
        bus::setup(&Config::default(), &server.config(), &wanted).await
    };
    let storage = async |name: &str| admin.get_stream(name).await.unwrap().cached_info().config.storage;

    let told = set_up(true, 1).await.unwrap_err().to_string();
    assert!(told.contains("`nats stream rm SNAP`") && !told.contains("reached"), "{told}");
    assert_eq!(storage("SNAP").await, stream::StorageType::Memory);
    for name in ["PROOF", "REQ", "ENDED", "FACTS"] {
        assert_eq!(storage(name).await, stream::StorageType::File, "{name}");
    }
    let recorder: Result<jetstream::consumer::PullConsumer, _> =
        analytics.get_consumer_from_stream("recorder", "FACTS").await;
    assert!(recorder.is_ok(), "the consumers are made as well");

    // With what SNAP is, there is nothing in the way.
    admin.delete_stream("PROOF").await.unwrap();
    in_memory("PROOF", "proof.*").await;
    let said = set_up(false, 1).await.unwrap();
    assert!(said.iter().any(|line| line.contains("PROOF was removed and created anew")), "{said:?}");
    let told = set_up(false, 3).await.unwrap_err().to_string();
    assert!(told.starts_with("NATS is there, but will not have the ") && told.contains("replicas"), "{told}");
}

/// A role that was given the wrong user, or none, does not start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_known_does_not_start() {
    let server = NatsServer::start_guarded().await;
    let nobody = bus::NatsConfig::default();
    let stranger = bus::NatsConfig { nats_user: Some("edge".into()), ..user("worker") };
    for settings in [nobody, stranger] {
        let refused = Bus::nats(&Config::default(), &server.at(settings), "edge").await.err();
        assert!(matches!(refused, Some(ConnectError::Refused(_))), "{refused:?}");
        assert!(refused.unwrap().to_string().contains("does not know this user"));
    }
    // Known, but another one than the role's: what is refused is counted.
    let bus = Bus::nats(&Config::default(), &server.at(user("worker")), "edge").await.unwrap();
    bus.ping().await.unwrap_err();
    let counted = async {
        while bus.refusals() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, counted).await.expect("it is counted");
    assert!(bus.denied());
}

#[test]
fn every_role_has_its_tables() {
    for table in [FORBIDDEN, ALLOWED] {
        assert_eq!(table.iter().map(|(role, _)| *role).collect::<Vec<_>>(), ROLES);
    }
}
