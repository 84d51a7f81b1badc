//! The line decoder: how much CPU a token of n8n costs before anything is sent on.

use std::{fmt::Write as _, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use worker::lines::{Decoder, Limits, Media, Piece};

fn line(content: &str) -> String {
    const METADATA: &str = "{\"nodeId\":\"f05c68b6-11ab-557f-9e29-27250c13f2ef\",\"nodeName\":\"Agent\",\
                            \"itemIndex\":0,\"runIndex\":0,\"timestamp\":1795385893844}";
    format!("{{\"type\":\"item\",\"content\":\"{content}\",\"metadata\":{METADATA}}}\n")
}

fn decode<'a>(reads: impl Iterator<Item = &'a [u8]>) -> usize {
    let mut decoder = Decoder::new(Limits { reply_bytes: 1024 * 1024 }, Media::Json);
    let mut text = 0;
    let mut sink = |piece: Piece<'_>| {
        if let Piece::Text(piece) = piece {
            text += black_box(piece).len();
        }
    };
    for read in reads {
        decoder.feed(read, &mut sink).expect("below the limit");
    }
    decoder.finish(&mut sink).expect("below the limit");
    text
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("lines");

    let tokens = line("tok1 ").repeat(1000);
    group.throughput(Throughput::Elements(1000));
    group.bench_function("1000 tokens, a read each", |b| {
        b.iter(|| decode(black_box(tokens.as_bytes()).split_inclusive(|byte| *byte == b'\n')));
    });
    group.bench_function("1000 tokens, reads of 4 KiB", |b| {
        b.iter(|| decode(black_box(tokens.as_bytes()).chunks(4096)));
    });

    let mut escaped = String::new();
    for n in 0..1000 {
        write!(escaped, "{}", line(&format!("a\\n{n}"))).expect("writing to a String succeeds");
    }
    group.bench_function("1000 tokens with an escape", |b| {
        b.iter(|| decode(black_box(escaped.as_bytes()).chunks(4096)));
    });

    let long = line(&"x".repeat(200_000));
    group.throughput(Throughput::Bytes(200_000));
    group.bench_function("a line of 200 kB, reads of 64 KiB", |b| {
        b.iter(|| decode(black_box(long.as_bytes()).chunks(65_536)));
    });
    group.finish();
}

criterion_group!(benches, lines);
criterion_main!(benches);
