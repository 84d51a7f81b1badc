//! One chunk as a server-sent event. Run with `cargo bench -p edge`.
#![expect(clippy::unwrap_used, reason = "criterion's macros; a bench may panic")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use protocol::MessageId;

fn sse(c: &mut Criterion) {
    let id = MessageId::new("m-0123456789abcdef0123456789abcdef").unwrap();
    let mut group = c.benchmark_group("a chunk as an event");
    for (name, content) in [("a token", "five ".to_owned()), ("16 KiB", "Grüße \"you\"\n".repeat(1170))] {
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function(name, |b| b.iter(|| edge::encode_chunk(black_box(&id), 7, black_box(&content))));
    }
    group.finish();
}

criterion_group!(benches, sse);
criterion_main!(benches);
