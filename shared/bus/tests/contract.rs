//! The promises of [`bus::Bus`], checked over both variants: in the process, and over a real nats-server.

#![expect(clippy::unwrap_used, clippy::large_futures, reason = "a test that can't go on should stop")]

use std::{borrow::Cow, sync::atomic::AtomicU64, time::Duration};

use bus::{
    ACK_WAIT, Ask, Bus, Cancel, Circuit, Config, Ending, Error, LIVE_BUFFER, Late, Live, Proved, PutError, Queue, Read,
    Request, Status, Submitted, Taken, ToKeeper, testing::NatsServer,
};
use protocol::{
    Charges, Count, Counts, CountsAsk, Event, Fact, FactKind, FinishReason, Key, Message, MessageId, Millis, Record,
    Reply, SessionId, SiteId, Terminal, Tier, What,
};

/// One deployment: a bus for each role, which in the process is one and the same.
struct Deployment {
    edge: Bus,
    worker: Bus,
    other_worker: Bus,
    analytics: Bus,
}

async fn local(config: Config) -> Deployment {
    let bus = Bus::local(&config);
    Deployment { edge: bus.clone(), worker: bus.clone(), other_worker: bus.clone(), analytics: bus }
}

async fn nats(config: Config) -> (Deployment, NatsServer) {
    let server = NatsServer::start().await;
    server.set_up(&config).await;
    let deployment = Deployment {
        edge: server.bus(&config, "edge").await,
        worker: server.bus(&config, "worker").await,
        other_worker: server.bus(&config, "worker").await,
        analytics: server.bus(&config, "analytics").await,
    };
    (deployment, server)
}

/// Makes two tests of one story.
macro_rules! promise {
    ($(#[doc = $doc:literal])* $name:ident, $config:expr, $story:expr) => {
        $(#[doc = $doc])*
        mod $name {
            use super::*;
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_the_process() {
                let story: fn(Deployment) -> _ = $story;
                within_a_minute(story(local($config).await)).await;
            }
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_nats() {
                let story: fn(Deployment) -> _ = $story;
                let (deployment, _server) = nats($config).await;
                within_a_minute(story(deployment)).await;
            }
        }
    };
}

async fn within_a_minute<T>(story: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), story).await.expect("the story ends in time")
}

fn session() -> SessionId {
    static LAST: AtomicU64 = AtomicU64::new(1);
    SessionId::mint(1_767_168_909, LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

fn message(session: &SessionId, id: &str) -> Message {
    Message {
        v: 1,
        site: SiteId::new("default").unwrap(),
        session: session.clone(),
        message_id: MessageId::new(id).unwrap(),
        text: "Where is my parcel?".into(),
        digest: "d1".into(),
        history: Vec::new(),
        page: None,
        context: None,
        metadata: None,
        locale: None,
        origin: None,
        user_agent: None,
        client_ip: None,
        identity: None,
        reply_url: None,
        accepted_at: Millis::now(),
        traceparent: None,
    }
}

fn chunk(n: u32) -> Event<'static> {
    Event {
        message_id: MessageId::new("message-1").unwrap(),
        attempt: 1,
        what: What::Chunk { index: n, content: Cow::Owned(format!("chunk {n}")) },
    }
}

fn reply(id: &str, run: &str) -> Reply {
    Reply::new(MessageId::new(id).unwrap(), "d1".into(), 1, run.into())
}

fn charges(key: u64) -> Charges {
    Charges { v: 1, edge: "edge-1".into(), tier: Tier::IpDay, charges: vec![(Key(key), 2)], resets: vec![500] }
}

fn index(live: &Live) -> Option<u32> {
    let Live::Event(said) = live else { return None };
    match said.event().expect("it can be read").what {
        What::Chunk { index, .. } => Some(index),
        _ => None,
    }
}

promise!(
    /// A message is accepted once; its repeat is a duplicate, another of the session is busy until it is done.
    one_message_of_a_session_at_a_time,
    Config::default(),
    |d| async move {
        let session = session();
        let (first, second) = (message(&session, "message-1"), message(&session, "message-2"));
        assert_eq!(d.edge.submit(&first).await.unwrap(), Submitted::Accepted);
        assert_eq!(d.edge.submit(&first).await.unwrap(), Submitted::Duplicate);
        assert_eq!(d.edge.submit(&second).await.unwrap(), Submitted::Busy);
        let pending = d.edge.pending(&session).await.unwrap().expect("it is queued");
        assert_eq!(pending.message.message_id, first.message_id);

        let delivery = d.worker.messages().await.unwrap().next(1).await;
        assert_eq!((&delivery.message.message_id, delivery.attempt), (&first.message_id, 1));
        assert_eq!(d.edge.submit(&second).await.unwrap(), Submitted::Busy, "held is not done");
        delivery.ack().await;
        // The acknowledgement is not answered: busy until it has arrived.
        while d.edge.submit(&second).await.unwrap() == Submitted::Busy {}
        assert_eq!(d.edge.submit(&first).await.unwrap(), Submitted::Duplicate, "remembered after it is done");
    }
);

promise!(
    /// Twenty copies at once: one is accepted.
    parallel_copies_are_one,
    Config::default(),
    |d| async move {
        let message = message(&session(), "message-1");
        let sent = (0..20).map(|_| d.edge.submit(&message));
        let results: Vec<_> = futures_util::future::join_all(sent).await.into_iter().map(|r| r.unwrap()).collect();
        assert_eq!(results.iter().filter(|r| **r == Submitted::Accepted).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|r| **r == Submitted::Duplicate).count(), 19, "{results:?}");
    }
);

promise!(
    /// A full queue says so.
    a_full_queue_is_overloaded,
    Config { queue_max_messages: 2, ..Config::default() },
    |d| async move {
        for _ in 0..2 {
            assert_eq!(d.edge.submit(&message(&session(), "message-1")).await.unwrap(), Submitted::Accepted);
        }
        let refused = d.edge.submit(&message(&session(), "message-1")).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    }
);

promise!(
    /// What a silent worker holds goes to another one; one that shows life keeps it.
    silence_hands_the_message_on,
    Config::default(),
    |d| async move {
        let (silent, alive) = (session(), session());
        let mut first = d.worker.messages().await.unwrap();
        d.edge.submit(&message(&silent, "message-1")).await.unwrap();
        let held = first.next(1).await;
        assert_eq!(held.message.session, silent);
        d.edge.submit(&message(&alive, "message-1")).await.unwrap();
        let kept = first.next(1).await;
        assert_eq!(kept.message.session, alive);
        let began = std::time::Instant::now();
        let mut other = d.other_worker.messages().await.unwrap();
        let again = loop {
            tokio::select! {
                again = other.next(1) => break again,
                () = tokio::time::sleep(Duration::from_secs(3)) => kept.progress().await,
            }
        };
        assert_eq!((&again.message.session, again.attempt), (&silent, 2));
        assert!(began.elapsed() > ACK_WAIT / 2, "not before its time: {:?}", began.elapsed());
    }
);

promise!(
    /// A message given back is handed out again at once.
    a_message_can_be_given_back,
    Config::default(),
    |d| async move {
        let session = session();
        d.edge.submit(&message(&session, "message-1")).await.unwrap();
        let mut messages = d.worker.messages().await.unwrap();
        messages.next(1).await.give_back().await;
        let again = d.other_worker.messages().await.unwrap().next(1).await;
        assert_eq!((&again.message.session, again.attempt), (&session, 2));
    }
);

promise!(
    /// A worker with room for one takes one; the rest is free for the others.
    a_worker_gets_no_more_than_it_asked_for,
    Config::default(),
    |d| async move {
        for _ in 0..3 {
            d.edge.submit(&message(&session(), "message-1")).await.unwrap();
        }
        let mut one = d.worker.messages().await.unwrap();
        let _held = one.next(1).await;
        let mut other = d.other_worker.messages().await.unwrap();
        for _ in 0..2 {
            other.next(2).await.ack().await;
        }
    }
);

/// While a worker with room waits, one that asks only for what is to spare gets nothing; it does once nobody waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_idle_worker_can_take_is_not_to_spare() {
    let (d, _server) = nats(Config::default()).await;
    within_a_minute(async {
        let (mut idle, mut full) = (d.worker.messages().await.unwrap(), d.other_worker.messages().await.unwrap());
        assert!(!d.other_worker.has_idle_worker().await);
        d.edge.submit(&message(&session(), "message-1")).await.unwrap();
        idle.next(4).await.ack().await;
        assert!(idle.has_asked() && !full.has_asked());
        assert!(d.other_worker.has_idle_worker().await);
        for _ in 0..50 {
            d.edge.submit(&message(&session(), "message-1")).await.unwrap();
            tokio::select! {
                delivery = idle.next(4) => delivery.ack().await,
                _ = full.next_spare(4) => panic!("there is a worker with room"),
            }
        }
        idle.close().await;
        d.edge.submit(&message(&session(), "message-1")).await.unwrap();
        full.next_spare(4).await.ack().await;
        assert!(!d.other_worker.has_idle_worker().await);
    })
    .await;
}

promise!(
    /// What waits is told as it is, and nothing once it was taken.
    what_waits_is_counted,
    Config::default(),
    |d| async move {
        let until = async |bus: &Bus, queue, expected| {
            while bus.waiting(queue).await.unwrap() != expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert_eq!(d.worker.waiting(Queue::Messages).await.unwrap(), 0);
        for _ in 0..3 {
            d.edge.submit(&message(&session(), "message-1")).await.unwrap();
        }
        until(&d.worker, Queue::Messages, 3).await;
        let mut messages = d.worker.messages().await.unwrap();
        let first = messages.next(1).await;
        until(&d.worker, Queue::Messages, 2).await;
        first.ack().await;
        messages.next(2).await.ack().await;
        messages.next(1).await.ack().await;
        until(&d.worker, Queue::Messages, 0).await;

        for n in 1..=2 {
            let message_id = MessageId::new(&format!("message-{n}")).unwrap();
            let kind = FactKind::MessageAccepted { message_id, chars: 3 };
            d.edge.tell(Fact::now(&SiteId::new("default").unwrap(), &session(), kind));
        }
        until(&d.analytics, Queue::Facts, 2).await;
        let mut facts = d.analytics.facts();
        let mut stored = 0;
        while stored < 2 {
            let batch = facts.next_batch(10).await;
            stored += batch.facts.len();
            batch.ack().await;
        }
        until(&d.analytics, Queue::Facts, 0).await;
    }
);

promise!(
    /// A message taken out of the queue is gone, and its session free.
    a_queued_message_can_be_withdrawn,
    Config::default(),
    |d| async move {
        let session = session();
        d.edge.submit(&message(&session, "message-1")).await.unwrap();
        let pending = d.edge.pending(&session).await.unwrap().expect("it is queued");
        d.edge.withdraw(&pending).await.unwrap();
        assert!(d.edge.pending(&session).await.unwrap().is_none());
        d.edge.withdraw(&pending).await.expect("twice is fine");
        assert_eq!(d.edge.submit(&message(&session, "message-2")).await.unwrap(), Submitted::Accepted);
    }
);

promise!(
    /// Of twenty who claim upon the same revision one succeeds.
    one_claim_succeeds,
    Config::default(),
    |d| async move {
        let session = session();
        let stored = d.worker.record(&session, Read::Exact).await.unwrap();
        assert_eq!((stored.revision, stored.record.replies.len()), (0, 0));
        let claims = (0..20).map(|n| {
            let mut record = stored.record.clone();
            record.put(&reply("message-1", &format!("run-{n}")));
            let bus = if n % 2 == 0 { d.worker.clone() } else { d.other_worker.clone() };
            async move { bus.put_record(&record, 0).await }
        });
        let results = futures_util::future::join_all(claims).await;
        let won: Vec<u64> = results.iter().filter_map(|r| r.as_ref().ok().copied()).collect();
        assert_eq!(won.len(), 1, "{results:?}");
        assert!(results.iter().filter(|r| r.is_err()).all(|r| matches!(r, Err(PutError::Lost))), "{results:?}");

        let read = d.edge.record(&session, Read::Quick).await.unwrap();
        assert_eq!(read.revision, won[0]);
        d.worker.put_record(&read.record, read.revision).await.expect("upon the right revision");
        let late = d.other_worker.put_record(&read.record, read.revision).await;
        assert!(matches!(late, Err(PutError::Lost)), "{late:?}");
    }
);

promise!(
    /// Every listener gets every event, in order, as it was sent.
    live_events_arrive_in_order,
    Config::default(),
    |d| async move {
        let session = session();
        let mut one = d.edge.listen(&session).await.unwrap();
        let mut two = d.edge.listen(&session).await.unwrap();
        // Once a request on the listeners' connection is answered, they are heard of.
        d.edge.ask(&session, &Ask { message_id: None, from: 0 }).await.unwrap();
        let sender = d.worker.sender(&session);
        for n in 0..500 {
            sender.send(&chunk(n));
        }
        for events in [&mut one, &mut two] {
            for n in 0..500 {
                let live = events.next().await;
                assert_eq!(index(&live), Some(n), "{live:?}");
            }
        }
    }
);

promise!(
    /// A reader that doesn't read stops nobody, and learns that it missed something.
    a_slow_reader_is_told,
    Config::default(),
    |d| async move {
        let session = session();
        let mut slow = d.edge.listen(&session).await.unwrap();
        d.edge.ask(&session, &Ask { message_id: None, from: 0 }).await.unwrap();
        let sender = d.worker.sender(&session);
        // In bursts, so that it is the reader's buffer that overflows and not the sender's.
        let total = u32::try_from(LIVE_BUFFER * 8).unwrap();
        for n in 0..total {
            sender.send(&chunk(n));
            if n % 256 == 0 {
                d.worker.ping().await.unwrap();
            }
        }
        let mut quick = d.edge.listen(&session).await.unwrap();
        d.edge.ask(&session, &Ask { message_id: None, from: 0 }).await.unwrap();
        sender.send(&chunk(total));
        while index(&quick.next().await) != Some(total) {}

        let mut expected = 0;
        let told = loop {
            // A worker goes on with heartbeats: the next event shows the hole.
            let event = tokio::select! {
                event = slow.next() => event,
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    sender.send(&chunk(total));
                    continue;
                }
            };
            match event {
                Live::Reread => break true,
                event if index(&event) == Some(expected) => expected += 1,
                _ => break true,
            }
        };
        assert!(told && (expected as usize) >= LIVE_BUFFER && expected < total, "missed after {expected}");
    }
);

promise!(
    /// Asks and orders reach the worker that runs the session; without one the answer is an honest none, at once.
    asks_reach_the_worker,
    Config::default(),
    |d| async move {
        let session = session();
        let ask = Ask { message_id: Some(MessageId::new("message-1").unwrap()), from: 3 };
        let cancel = Cancel { message_id: MessageId::new("message-1").unwrap() };
        let message_id = MessageId::new("message-1").unwrap();
        let late = Late { message_id, key: "k1".into(), content: "more".into(), last: true };
        let began = std::time::Instant::now();
        assert_eq!(d.edge.late(&session, &late).await.unwrap(), None);
        assert_eq!(d.edge.ask(&session, &ask).await.unwrap(), None);
        assert!(!d.edge.cancel(&session, &cancel).await.unwrap());
        assert!(began.elapsed() < Duration::from_secs(1), "no worker is no reason to wait");

        let mut requests = d.worker.requests(&session).await.unwrap();
        // Its subscription is known to the server once the same connection has had an answer.
        d.worker.ask(&SessionId::mint(1, 1), &ask).await.unwrap();
        let mut answered = reply("message-1", "run");
        answered.push("Hello".into());
        let worker = async {
            match requests.next().await {
                Request::Ask(asked, answer) => {
                    assert_eq!(asked, ask);
                    answer.send(answered.clone());
                }
                Request::Cancel(_) | Request::Late(..) => panic!("nothing of that was said yet"),
            }
            match requests.next().await {
                Request::Cancel(asked) => assert_eq!(asked, cancel),
                Request::Ask(..) | Request::Late(..) => panic!("nothing of that was said"),
            }
            match requests.next().await {
                Request::Late(came, answer) => {
                    assert_eq!(*came, late);
                    answer.send(Taken::Now);
                }
                Request::Ask(..) | Request::Cancel(_) => panic!("nothing of that was said"),
            }
            // One that nobody answers is not taken, as far as its edge knows.
            match requests.next().await {
                Request::Late(_, answer) => drop(answer),
                Request::Ask(..) | Request::Cancel(_) => panic!("nothing of that was said"),
            }
        };
        let edge = async {
            assert_eq!(d.edge.ask(&session, &ask).await.unwrap(), Some(answered.clone()));
            assert!(d.edge.cancel(&session, &cancel).await.unwrap());
            assert_eq!(d.edge.late(&session, &late).await.unwrap(), Some(Taken::Now));
            assert_eq!(d.edge.late(&session, &late).await.unwrap(), None);
        };
        tokio::join!(worker, edge);
        drop(requests);
    }
);

promise!(
    /// Facts arrive with their ids, and not again once they are acknowledged.
    facts_arrive,
    Config::default(),
    |d| async move {
        let session = session();
        let site = SiteId::new("default").unwrap();
        let fact = |n: u32| {
            let message_id = MessageId::new(&format!("message-{n}")).unwrap();
            Fact::now(&site, &session, FactKind::MessageAccepted { message_id, chars: 3 })
        };
        for n in 0..100 {
            d.edge.tell(fact(n));
        }
        let mut facts = d.analytics.facts();
        let mut ids = std::collections::HashSet::new();
        while ids.len() < 100 {
            let batch = facts.next_batch(30).await;
            assert!(batch.facts.len() <= 30);
            ids.extend(batch.facts.iter().map(|fact| fact.id.clone()));
            batch.ack().await;
        }
        let last = fact(100);
        d.edge.tell(last.clone());
        let batch = facts.next_batch(30).await;
        assert_eq!(batch.facts, [last], "nothing that was acknowledged");
        assert_eq!(d.edge.losses().facts, 0);
    }
);

promise!(
    /// What was told before the bus closes is not lost.
    close_flushes,
    Config::default(),
    |d| async move {
        let (session, site) = (session(), SiteId::new("default").unwrap());
        let fact = Fact::now(&site, &session, FactKind::SessionStarted(protocol::Visit::default()));
        d.edge.tell(fact.clone());
        let closing = d.edge.clone();
        let close = closing.close(Duration::from_secs(5));
        let read = async {
            let batch = d.analytics.facts().next_batch(10).await;
            assert_eq!(batch.facts, [fact]);
            batch.ack().await;
        };
        tokio::join!(close, read);
    }
);

promise!(
    /// Edges and workers know who is there, and whether any of them calls n8n.
    presence_is_known,
    Config::default(),
    |d| async move {
        assert!(d.edge.presence().workers.is_empty() && !d.edge.presence().analytics);
        let site = SiteId::new("default").unwrap();
        assert!(!d.edge.circuit_is_open(&site));
        let sites = [(site.clone(), Circuit::Open)].into();
        let status = Status { id: "w1".into(), capacity: 64, running: 0, n8n: "open".into(), sites };
        while d.edge.presence().workers.is_empty()
            || !d.edge.presence().analytics
            || d.worker.presence().workers.is_empty()
        {
            d.worker.announce_worker(&status);
            d.analytics.announce_analytics("a1");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(d.edge.presence().workers, std::slice::from_ref(&status));
        assert_eq!(d.worker.presence().workers, [status]);
        assert!(d.edge.circuit_is_open(&site) && d.worker.circuit_is_open(&site));
        assert!(!d.edge.circuit_is_open(&SiteId::new("another").unwrap()));
    }
);

promise!(
    /// Fifty copies of one proof, shown at two processes at once: one is fresh. Another proof is another.
    a_proof_counts_once,
    Config::default(),
    |d| async move {
        let shown = (0..50).map(|n| if n % 2 == 0 { &d.edge } else { &d.other_worker }.prove(&[7; 32]));
        let results: Vec<_> = futures_util::future::join_all(shown).await.into_iter().map(|r| r.unwrap()).collect();
        assert_eq!(results.iter().filter(|proved| **proved == Proved::Fresh).count(), 1, "{results:?}");
        assert_eq!(d.edge.prove(&[7; 32]).await.unwrap(), Proved::Replayed);
        assert_eq!(d.edge.prove(&[8; 32]).await.unwrap(), Proved::Fresh);
    }
);

promise!(
    /// With no room to remember one more, a proof is refused, and a used one is still known.
    no_proof_is_taken_that_can_not_be_remembered,
    Config { proofs_max: 2, ..Config::default() },
    |d| async move {
        for n in 0..2 {
            assert_eq!(d.edge.prove(&[n; 32]).await.unwrap(), Proved::Fresh);
        }
        let refused = d.edge.prove(&[2; 32]).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
        assert_eq!(d.edge.prove(&[0; 32]).await.unwrap(), Proved::Replayed);
    }
);

promise!(
    /// An end is told to who follows already, and to who begins later; before that one has caught up.
    the_end_of_a_session_is_known_everywhere,
    Config::default(),
    |d| async move {
        let mut early = d.edge.ended().await.unwrap();
        assert_eq!(early.next().await, Ending::CaughtUp);
        let sessions: Vec<SessionId> = (0..200).map(|_| session()).collect();
        for session in &sessions {
            d.edge.end_session(session).await.unwrap();
        }
        let mut heard = std::collections::HashSet::new();
        while heard.len() < sessions.len() {
            match early.next().await {
                Ending::Session(session) => heard.insert(session),
                Ending::CaughtUp => panic!("that was said"),
            };
        }
        let (mut late, mut told) = (d.other_worker.ended().await.unwrap(), Vec::new());
        while let Ending::Session(session) = late.next().await {
            told.push(session);
        }
        assert_eq!(told, sessions, "all of them, in order, and then that these were all");
        let last = session();
        d.edge.end_session(&last).await.unwrap();
        assert_eq!(late.next().await, Ending::Session(last.clone()));
        while early.next().await != Ending::Session(last.clone()) {}
    }
);

/// In the process the oldest end goes, which all have heard of; over NATS, where one may begin later, none does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_are_remembered_within_bounds() {
    within_a_minute(async {
        let config = Config { ended_max: 2, ..Config::default() };
        let sessions: Vec<SessionId> = (0..3).map(|_| session()).collect();
        let d = local(config.clone()).await;
        let mut follows = d.edge.ended().await.unwrap();
        for session in &sessions {
            d.edge.end_session(session).await.unwrap();
        }
        assert_eq!(follows.next().await, Ending::Session(sessions[1].clone()), "too far behind for the first");
        assert_eq!(follows.next().await, Ending::Session(sessions[2].clone()));

        let (d, _server) = nats(config).await;
        for session in &sessions[..2] {
            d.edge.end_session(session).await.unwrap();
        }
        let refused = d.edge.end_session(&sessions[2]).await;
        assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
        assert_eq!(d.edge.ended().await.unwrap().next().await, Ending::Session(sessions[0].clone()));
    })
    .await;
}

/// A restart of the server opens no gap for a used proof, and an end that was missed meanwhile is made up for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_nats_forgets_neither_proofs_nor_ends() {
    within_a_minute(async {
        let (d, mut server) = nats(Config::default()).await;
        let (before, after) = (session(), session());
        let mut ended = d.edge.ended().await.unwrap();
        assert_eq!(ended.next().await, Ending::CaughtUp);
        assert_eq!(d.edge.prove(&[1; 32]).await.unwrap(), Proved::Fresh);
        d.edge.end_session(&before).await.unwrap();
        server.restart(true).await;
        while d.edge.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(d.edge.prove(&[1; 32]).await.unwrap(), Proved::Replayed);
        d.edge.end_session(&after).await.unwrap();
        while ended.next().await != Ending::Session(before.clone()) {}
        while ended.next().await != Ending::Session(after.clone()) {}

        server.kill().await;
        let began = std::time::Instant::now();
        let (refused, ended) = (d.edge.prove(&[2; 32]).await, d.edge.end_session(&session()).await);
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        assert!(matches!(ended, Err(Error::Unavailable(_))), "{ended:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    })
    .await;
}

/// What one edge counts every edge hears, itself included; in the process there is nobody to hear it. A process without
/// a connection is told that nobody will.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_reach_the_other_edges_or_nobody() {
    within_a_minute(async {
        let of = |edge: &str| Charges { edge: edge.into(), ..charges(7) };
        let (d, mut server) = nats(Config::default()).await;
        let other = server.bus(&Config::default(), "edge").await;
        let (mut here, mut there) = (d.edge.charges().await.unwrap(), other.charges().await.unwrap());
        // A subscription of another connection is there some time after its call returned.
        let heard = loop {
            assert!(d.edge.charge(&of("edge-1")));
            tokio::select! {
                heard = there.next() => break heard,
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        };
        assert_eq!(heard, of("edge-1"));
        assert_eq!(here.next().await, of("edge-1"));
        server.kill().await;
        while d.edge.charge(&of("edge-1")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let alone = local(Config::default()).await.edge;
        assert!(alone.charge(&of("edge-1")));
        let mut nobody = alone.charges().await.unwrap();
        assert!(futures_util::FutureExt::now_or_never(nobody.next()).is_none());
    })
    .await;
}

promise!(
    /// Who keeps the counts of limits hears what was charged before it is asked; where nobody does, or nobody answers,
    /// an edge is told so in time.
    counts_are_kept_by_who_wants_to,
    Config::default(),
    |d| async move {
        let ask = |from| CountsAsk { v: 1, tier: Tier::IpDay, from };
        let soon = Duration::from_millis(100);
        let known = Counts { v: 1, tier: Tier::IpDay, counts: vec![Count(Key(7), 2, 500)], next: Some(8) };
        assert!(d.edge.charge(&charges(0)), "nobody keeps them, and nobody minds");
        assert_eq!(d.edge.counts(&ask(0), ACK_WAIT).await.unwrap(), None);

        let mut keeper = d.analytics.keep_counts().await.unwrap();
        // Over NATS a subscription of another connection is there some time after its call returned. Then there is
        // somebody, who does not answer.
        let silence = loop {
            match d.edge.counts(&ask(0), soon).await {
                Ok(nobody) => assert_eq!(nobody, None),
                Err(silence) => break silence,
            }
        };
        assert!(matches!(silence, Error::Unavailable(_)), "{silence}");

        let edge = async {
            for key in 1..=300 {
                assert!(d.edge.charge(&charges(key)));
            }
            d.edge.counts(&ask(300), ACK_WAIT).await.unwrap()
        };
        let keeping = async {
            let mut heard = Vec::new();
            loop {
                match keeper.next().await {
                    ToKeeper::Charges(charges) => heard.push(charges.charges[0].0.0),
                    ToKeeper::Asked(asked, to) if asked == ask(300) => {
                        to.send(known.clone());
                        return heard;
                    }
                    // Of before: nobody waits for it any more.
                    ToKeeper::Asked(asked, _) => assert_eq!(asked, ask(0)),
                }
            }
        };
        let (answer, heard) = tokio::join!(edge, keeping);
        assert_eq!((answer.as_ref(), heard), (Some(&known), (1..=300).collect()));

        drop(keeper);
        while d.edge.counts(&ask(0), soon).await.map_or(true, |answer| answer.is_some()) {}
        assert!(d.edge.charge(&charges(1)));
    }
);

/// Charges come without an end, faster than they are heard, and some that nobody can read: a question waits for those
/// before it alone, and a task that listens gives way to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
#[expect(clippy::disallowed_methods, reason = "a listener that is slower than what comes")]
async fn a_flood_of_charges_hides_no_question() {
    within_a_minute(async {
        let (d, server) = nats(Config::default()).await;
        let mut keeper = d.analytics.keep_counts().await.unwrap();
        let ask = |from| CountsAsk { v: 1, tier: Tier::IpDay, from };
        // Until it is there, and doesn't answer.
        while d.edge.counts(&ask(0), Duration::from_millis(50)).await.is_ok() {}
        let over = tokio_util::sync::CancellationToken::new();
        let raw = async_nats::connect(server.url()).await.unwrap();
        let flood = tokio::spawn({
            let (raw, over) = (raw.clone(), over.clone());
            let bytes = bytes::Bytes::from(serde_json::to_vec(&charges(7)).unwrap());
            async move {
                while !over.is_cancelled() {
                    raw.publish("limit.charge.ip-day", bytes.clone()).await.unwrap();
                    raw.publish("limit.charge.ip-day", "[]".into()).await.unwrap();
                }
            }
        });
        let (edge, asked) = (d.edge.clone(), ask(1));
        let asking = tokio::spawn(async move { while edge.counts(&asked, ACK_WAIT).await.is_err() {} });
        let mut heard = 0;
        loop {
            match keeper.next().await {
                ToKeeper::Charges(_) => {
                    heard += 1;
                    std::thread::sleep(Duration::from_micros(200));
                }
                ToKeeper::Asked(asked, _) if asked == ask(1) => break,
                ToKeeper::Asked(..) => {}
            }
            assert!(heard < 20_000, "{heard} charges and no question");
        }
        asking.abort();
        over.cancel();
        flood.await.unwrap();
    })
    .await;
}

/// In the process what waits for who keeps counts is bounded; what finds it full is dropped and counted.
#[tokio::test]
async fn a_keeper_that_does_not_come_costs_no_memory() {
    let bus = local(Config::default()).await.edge;
    let mut keeper = bus.keep_counts().await.unwrap();
    let taken = (0..2000).take_while(|key| bus.charge(&charges(*key))).count();
    assert_eq!((taken, bus.losses().unread), (1024, 1));
    let ask = CountsAsk { v: 1, tier: Tier::IpDay, from: 0 };
    assert!(matches!(bus.counts(&ask, ACK_WAIT).await, Err(Error::Overloaded)));
    assert!(matches!(keeper.next().await, ToKeeper::Charges(first) if first == charges(0)));
    assert!(bus.charge(&charges(0)));
}

/// After a restart of the server listeners are told to re-read, and what was stored is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_nats_is_told() {
    within_a_minute(async {
        let (d, mut server) = nats(Config::default()).await;
        let session = session();
        d.edge.submit(&message(&session, "message-1")).await.unwrap();
        let mut events = d.edge.listen(&session).await.unwrap();
        let epoch = d.worker.epoch();
        server.restart(true).await;
        assert!(matches!(events.next().await, Live::Reread));
        while d.worker.epoch() == epoch {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The control connection comes back by itself, a little earlier or later.
        while d.edge.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(d.edge.submit(&message(&session, "message-1")).await.unwrap(), Submitted::Duplicate);
        let delivery = d.worker.messages().await.unwrap().next(1).await;
        assert_eq!(delivery.message.session, session);
    })
    .await;
}

/// With NATS away the edge knows within a second that it can't hand on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_nats_submit_refuses_at_once() {
    within_a_minute(async {
        let (d, mut server) = nats(Config::default()).await;
        server.kill().await;
        let began = std::time::Instant::now();
        let refused = d.edge.submit(&message(&session(), "message-1")).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(d.edge.ping().await.is_err());
    })
    .await;
}

/// Why `REQ` is not limited to `QUEUE_TIMEOUT`: the age limit of a stream also takes a message that a worker holds and
/// shows life for, which would free the session in mid-run and keep the message from any other worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_limit_takes_messages_in_mid_run() {
    within_a_minute(async {
        let config = Config {
            queue_timeout: Duration::from_millis(500),
            resume_window: Duration::from_millis(500),
            ..Config::default()
        };
        let server = NatsServer::start().await;
        // Streams refuse a duplicate window above the age limit, so that this one is made here.
        let js = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
        server.set_up(&Config::default()).await;
        let mut stream = js.get_stream("REQ").await.unwrap().cached_info().config.clone();
        stream.max_age = config.queue_timeout;
        stream.duplicate_window = config.queue_timeout;
        js.update_stream(&stream).await.unwrap();
        let bus = server.bus(&config, "worker").await;
        let session = session();
        bus.submit(&message(&session, "message-1")).await.unwrap();
        let held = bus.messages().await.unwrap().next(1).await;
        while bus.pending(&session).await.unwrap().is_some() {
            held.progress().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bus.submit(&message(&session, "message-2")).await.unwrap(), Submitted::Accepted);
    })
    .await;
}

/// Making the streams twice changes nothing the second time.
/// Of a cluster only one server has to be there.
#[tokio::test]
async fn of_several_servers_one_is_enough() {
    let server = NatsServer::start().await;
    server.set_up(&Config::default()).await;
    let nats = server.config();
    let nats = bus::NatsConfig { nats_url: format!("nats://127.0.0.1:9,{}", nats.nats_url), ..nats };
    let bus = Bus::nats(&Config::default(), &nats, "edge").await.expect("it connects");
    within_a_minute(async {
        while bus.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn setup_can_be_repeated() {
    let server = NatsServer::start().await;
    let first = server.set_up(&Config::default()).await;
    assert!(first.iter().filter(|line| line.ends_with("was created")).count() == 5, "{first:?}");
    let second = server.set_up(&Config::default()).await;
    assert!(second.iter().all(|line| line.ends_with("is in place")), "{second:?}");
    let longer = Config { resume_window: Duration::from_secs(1800), ..Config::default() };
    let third = server.set_up(&longer).await;
    assert!(third.contains(&"stream SNAP was changed".to_owned()), "{third:?}");
}

/// The record of the session is what the protocol says it is.
#[tokio::test]
async fn a_record_survives_the_way_there_and_back() {
    let (over_nats, _server) = nats(Config::default()).await;
    for d in [local(Config::default()).await, over_nats] {
        let mut record = Record::new(session());
        let mut ended = reply("message-1", "run");
        ended.push("Grüße \"from\"\nus\u{0}".into());
        ended.finish(Terminal::End { chunks: 1, finish_reason: FinishReason::Stop, duration_ms: 7 });
        record.put(&ended);
        d.worker.put_record(&record, 0).await.unwrap();
        for read in [Read::Quick, Read::Exact] {
            assert_eq!(d.edge.record(&record.session, read).await.unwrap().record, record);
        }
    }
}
