//! One hop over the bus, both variants: a live event from worker to edge, and a message from edge to worker and back
//! to done. Run with `cargo bench -p frontdesk`; NATS needs nats-server on the path.

use std::borrow::Cow;

use bus::{Bus, Config, Live, testing::NatsServer};
use criterion::{Criterion, criterion_group, criterion_main};
use protocol::{Event, Message, MessageId, SessionId, What};

fn message(n: u64) -> Message {
    let mut message: Message =
        serde_json::from_str(include_str!("../../../shared/protocol/fixtures/message.json")).expect("a message");
    message.session = SessionId::mint(1, n);
    message
}

fn hops(c: &mut Criterion, name: &str, edge: &Bus, worker: &Bus, tokio: &tokio::runtime::Runtime) {
    let session = SessionId::mint(2, 1);
    let (mut events, sender) = tokio.block_on(async {
        let events = edge.listen(&session).await.expect("the bus is there");
        edge.ping().await.expect("the bus answers");
        (events, worker.sender(&session))
    });
    let message_id = MessageId::new("message-1").expect("a good id");
    let mut index = 0;
    c.bench_function(&format!("{name}: one chunk, worker to edge"), |b| {
        b.iter(|| {
            index += 1;
            let what = What::Chunk { index, content: Cow::Borrowed("five ") };
            tokio.block_on(async {
                sender.send(&Event { message_id: message_id.clone(), attempt: 1, what });
                let Live::Event(said) = events.next().await else { panic!("nothing was missed") };
                said.event().expect("it can be read").attempt
            })
        });
    });
    let mut messages = tokio.block_on(worker.messages()).expect("the bus is there");
    let mut n = 0;
    c.bench_function(&format!("{name}: one message, submitted, taken, acknowledged"), |b| {
        b.iter(|| {
            n += 1;
            tokio.block_on(async {
                edge.submit(&message(n)).await.expect("there is room");
                messages.next(1).await.ack().await;
            });
        });
    });
}

fn bus(c: &mut Criterion) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let config = Config { queue_max_messages: 1_000_000, ..Config::default() };
    let local = Bus::local(&config);
    hops(c, "in the process", &local, &local, &tokio);
    let (_server, edge, worker) = tokio.block_on(async {
        let server = NatsServer::start().await;
        server.set_up(&config).await;
        let (edge, worker) = (server.bus(&config, "edge").await, server.bus(&config, "worker").await);
        (server, edge, worker)
    });
    hops(c, "over NATS", &edge, &worker, &tokio);
}

criterion_group!(benches, bus);
criterion_main!(benches);
