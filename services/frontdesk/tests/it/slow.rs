//! Stories of visitors who take what they are sent slowly, or not at all.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use worker::demo::{Gate, Script};

use crate::{
    desk::{Desk, LIMIT, Process},
    visitor::{Event, FINGERPRINT, Visitor, check_reply, parse, text},
};

/// As long as the tests let a stream be behind. A tab that reads is never so for this long, on a busy machine neither.
const LAG: Duration = Duration::from_secs(3);
const LAG_SETTING: &str = "3s";

/// A visitor whose socket takes little, and who doesn't read it yet.
async fn say_and_look_away(edge: &str, visitor: &Visitor, text: &str) -> TcpStream {
    let address = edge.strip_prefix("http://").expect("plain HTTP").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small one");
    let mut stream = socket.connect(address).await.expect("the edge listens");
    let body = json!({"message": text, "message_id": "message-1"}).to_string();
    let request = format!(
        "POST /api/v1/chat/message HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {}\r\n\
         X-Fingerprint: {FINGERPRINT}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        visitor.token,
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it is small");
    stream
}

/// Everything that comes to the end of the response, out of its HTTP chunks, and whether it was a proper end.
async fn read_all(mut stream: TcpStream) -> (Vec<Event>, bool) {
    let mut wire = Vec::new();
    let mut part = vec![0; 16 * 1024];
    while !wire.ends_with(b"\r\n0\r\n\r\n") {
        let read = tokio::time::timeout(LIMIT, stream.read(&mut part)).await.expect("it goes on or ends");
        match read {
            Ok(0) | Err(_) => break,
            Ok(read) => wire.extend_from_slice(&part[..read]),
        }
    }
    let whole = wire.ends_with(b"\r\n0\r\n\r\n");
    let head = wire.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let (mut rest, mut body) = (&wire[head + 4..], Vec::new());
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.expect("the size of a chunk");
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
    let body = String::from_utf8(body).expect("UTF-8");
    let whole_events = body.rfind("\n\n").map_or(0, |at| at + 2);
    assert!(!whole || whole_events == body.len(), "it ends after a whole event");
    (body[..whole_events].split("\n\n").filter_map(parse).collect(), whole)
}

/// About a MiB in pieces that differ.
fn large() -> Vec<String> {
    (0..63).map(|n| format!("{n:05} ").repeat(2_700)).collect()
}

/// How many streams of this edge were sent away.
async fn sent_away(edge: &Process) -> f64 {
    edge.metric("frontdesk_edge_sse_lagged_total").await
}

async fn metrics(edge: &str) -> String {
    reqwest::get(format!("{edge}/metrics")).await.expect("it answers").text().await.expect("text")
}

/// A visitor who doesn't read a fast reply slows neither another tab of the same session nor anybody else. Who was
/// behind for too long is sent away after a whole event, and gets the very same text on coming back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_visitor_slows_nobody_and_misses_nothing() {
    let desk = Desk::spread(2, 1, &[("STREAM_MAX_LAG", LAG_SETTING)]).await;
    let (pieces, gate) = (large(), Gate::new());
    let whole = pieces.concat();
    desk.n8n.when("large", Script::lines().begin().items(pieces.iter().map(String::as_str)).wait(&gate).end());
    desk.n8n.when("small", Script::says(["all well"]));
    let (visitor, other) = (desk.visitor().await, desk.visitor().await);
    let mut tab = visitor.listen("", None).await;
    let before = sent_away(&desk.edges[0]).await;
    let slow = say_and_look_away(&desk.edges[0].url, &visitor, "large").await;

    let seen = tab.chunks(pieces.len()).await;
    assert_eq!(text(&seen), whole, "the other tab has all of it");
    let (since, mut asked) = (Instant::now(), 0);
    while since.elapsed() <= LAG {
        asked += 1;
        assert_eq!(text(&other.hear(&format!("message-{asked}"), "small").await), "all well");
    }

    let (mut events, ended) = read_all(slow).await;
    assert!(ended, "ended, not cut in an event");
    let last = events.last().expect("something came").clone();
    assert_eq!(last.name, "chunk", "and not to the end: {last:?}");
    assert_eq!(sent_away(&desk.edges[0]).await, before + 1.0, "it alone");
    // At the other edge, while the reply still runs.
    let mut back = visitor.at(&desk.edges[1].url).listen("", last.id.as_deref()).await;
    assert_eq!(back.next().await.expect("ready").data["resumed"], true);
    gate.open();
    events.extend(back.until("end").await);
    check_reply(&events, 0);
    assert!(text(&events) == whole, "byte for byte");
    assert_eq!(desk.n8n.asked(), 1 + asked, "nothing ran twice");
}

/// Who takes nothing at all is cut, and what was said meanwhile is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_is_cut() {
    let desk = Desk::spread(1, 1, &[("SEND_TIMEOUT", "1s")]).await;
    let (pieces, gate) = (large(), Gate::new());
    desk.n8n.when("large", Script::lines().begin().items(pieces.iter().map(String::as_str)).wait(&gate).end());
    let visitor = desk.visitor().await;
    let slow = say_and_look_away(&desk.edges[0].url, &visitor, "large").await;
    let until = Instant::now() + LIMIT;
    while !metrics(&desk.edges[0].url).await.contains("frontdesk_edge_sse_open 0\n") || desk.n8n.asked() == 0 {
        assert!(Instant::now() < until, "it holds its place: {}", metrics(&desk.edges[0].url).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut events, ended) = read_all(slow).await;
    assert!(!ended, "cut");
    let mut back = visitor.listen("", events.last().expect("something came").id.as_deref()).await;
    back.next().await;
    gate.open();
    events.extend(back.until("end").await);
    check_reply(&events, 0);
    assert!(text(&events) == pieces.concat(), "byte for byte");
}
