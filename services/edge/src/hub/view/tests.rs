//! The view without a bus.

use std::borrow::Cow;

use protocol::{FailureCode, FinishReason};

use super::*;

fn id(n: u32) -> MessageId {
    MessageId::new(&format!("message-{n}")).expect("a good id")
}

fn event(n: u32, what: What<'static>) -> Event<'static> {
    Event { message_id: id(n), attempt: 1, what }
}

fn begin(n: u32) -> Event<'static> {
    event(n, What::Begin { at: Millis(0) })
}

fn chunk(n: u32, index: u32) -> Event<'static> {
    event(n, What::Chunk { index, content: Cow::Owned(format!("{n}.{index} ")) })
}

fn end(n: u32, chunks: u32) -> Event<'static> {
    let finish_reason = FinishReason::Stop;
    event(n, What::Done(Terminal::End { chunks, finish_reason, duration_ms: 0 }))
}

fn recorded(n: u32, offset: u32, next: u32, over: bool) -> Reply {
    let mut reply = Reply::new(id(n), "d".into(), 1, "run".into());
    reply.begun_at = Some(Millis(0));
    (reply.offset, reply.next) = (offset, next);
    reply.chunks = (offset..next).map(|index| format!("{n}.{index} ")).collect();
    if over {
        reply.finish(Terminal::End { chunks: next, finish_reason: FinishReason::Stop, duration_ms: 0 });
    }
    reply
}

/// A view in which reply `n` has so many chunks and is over.
fn told(view: &mut View, n: u32, chunks: u32) {
    view.merge(&begin(n));
    for index in 0..chunks {
        view.merge(&chunk(n, index));
    }
    view.merge(&end(n, chunks));
}

/// What the cursor gets, as `name id` a piece.
fn read(view: &View, cursor: &mut Cursor) -> Vec<String> {
    let Part { bytes, events, .. } = view.read(cursor);
    let wire = bytes.map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8")).unwrap_or_default();
    let read: Vec<String> = wire
        .split_terminator("\n\n")
        .map(|block| {
            let field = |name| block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-");
            let after = field("data: ").strip_prefix("{\"after\":").map(|after| after.trim_end_matches('}'));
            format!("{} {}", field("event: "), after.unwrap_or(field("id: ")))
        })
        .collect();
    assert_eq!(read.len() as u64, events);
    read
}

fn last(text: &str) -> LastEvent {
    LastEvent::parse(text).expect("a good id")
}

#[test]
fn events_are_merged_once_and_in_order() {
    let mut view = View::new();
    assert_eq!(view.merge(&begin(1)), Merged::New);
    assert_eq!(view.merge(&chunk(1, 0)), Merged::New);
    assert_eq!(view.merge(&chunk(1, 0)), Merged::Nothing, "a repeat");
    assert_eq!(view.merge(&chunk(1, 2)), Merged::Hole);
    assert_eq!(view.merge(&event(1, What::Heartbeat { next: 1, begun: true })), Merged::Nothing);
    assert_eq!(view.merge(&event(1, What::Heartbeat { next: 2, begun: true })), Merged::Hole);
    assert_eq!(view.merge(&end(1, 2)), Merged::Hole, "an end above a hole waits");
    assert_eq!(view.merge_reply(&recorded(1, 1, 2, false)), Merged::New);
    assert_eq!(view.merge(&end(1, 2)), Merged::New);
    assert_eq!(view.merge(&end(1, 2)), Merged::Nothing, "one end");
    let failed = What::Done(Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
    assert_eq!(view.merge(&event(1, failed)), Merged::Nothing, "the first end stays");
    let mut cursor = view.follow_one(&id(1), None);
    assert_eq!(
        read(&view, &mut cursor),
        ["begin message-1:b", "chunk message-1:0", "chunk message-1:1", "end message-1:z"]
    );
}

#[test]
fn a_later_attempt_overrules_an_earlier_one() {
    let mut view = View::new();
    view.merge(&begin(1));
    view.merge(&chunk(1, 0));
    let failed = What::Done(Terminal::Failed { chunks: 0, code: FailureCode::Interrupted });
    let other = Event { attempt: 2, ..event(1, failed) };
    assert_eq!(view.merge(&other), Merged::New);
    assert_eq!(view.merge(&chunk(1, 1)), Merged::Nothing, "the zombie is not heard");
}

#[test]
fn a_client_goes_on_where_it_was() {
    let mut view = View::new();
    told(&mut view, 1, 3);
    told(&mut view, 2, 1);
    let check = |id: &str, expected: &[&str]| {
        let (mut cursor, found) = view.follow_all(Some(Ok(&last(id))), None);
        assert!(found);
        assert_eq!(read(&view, &mut cursor), expected, "{id}");
    };
    let second = ["begin message-2:b", "chunk message-2:0", "end message-2:z"];
    let after = |first: &[&'static str]| [first, &second].concat();
    check("message-1:b", &after(&["chunk message-1:0", "chunk message-1:1", "chunk message-1:2", "end message-1:z"]));
    check("message-1:1", &after(&["chunk message-1:2", "end message-1:z"]));
    check("message-1:2", &after(&["end message-1:z"]));
    // Of what another edge showed before this one knew it, the end is still to come.
    check("message-1:9", &after(&["end message-1:z"]));
    check("message-1:z", &after(&[]));
    check("message-2:z", &[]);
    let (mut live, _) = view.follow_all(None, None);
    assert_eq!(read(&view, &mut live), Vec::<String>::new(), "nothing runs");
}

#[test]
fn what_is_gone_is_told_as_a_gap() {
    let mut view = View::new();
    let (mut cursor, found) = view.follow_all(Some(Ok(&last("message-9:4"))), None);
    assert!(!found);
    assert_eq!(read(&view, &mut cursor), ["gap \"message-9:4\""]);
    let (mut cursor, _) = view.follow_all(Some(Err("rubbish")), None);
    assert_eq!(read(&view, &mut cursor), ["gap \"rubbish\""]);
    // The record keeps the last part only.
    view.load(&[recorded(1, 5, 7, true)]);
    let mut cursor = view.follow_one(&id(1), None);
    assert_eq!(
        read(&view, &mut cursor),
        ["begin message-1:b", "gap \"message-1:b\"", "chunk message-1:5", "chunk message-1:6", "end message-1:z"]
    );
}

#[test]
fn old_replies_come_back_without_being_shown_again() {
    let mut view = View::new();
    view.load(&[]);
    let (mut tab, _) = view.follow_all(None, None);
    told(&mut view, 1, 1);
    told(&mut view, 2, 1);
    assert_eq!(read(&view, &mut tab).len(), 6);
    view.forget_finished();
    assert!(!view.is_whole() && view.find(&id(1)).is_none());
    assert_eq!(view.merge(&end(1, 1)), Merged::Nothing, "a late repeat is no news");
    view.load(&[recorded(1, 0, 1, true), recorded(2, 0, 1, true)]);
    assert_eq!(read(&view, &mut tab), Vec::<String>::new(), "the tab has seen them");
    let (mut back, found) = view.follow_all(Some(Ok(&last("message-1:0"))), None);
    assert!(found);
    assert_eq!(read(&view, &mut back).first().map(String::as_str), Some("end message-1:z"));
    told(&mut view, 3, 1);
    assert_eq!(read(&view, &mut tab), ["begin message-3:b", "chunk message-3:0", "end message-3:z"]);
}

#[test]
fn a_slow_listener_loses_what_was_dropped_and_is_told() {
    let mut view = View::new();
    view.load(&[]);
    let (mut slow, _) = view.follow_all(None, None);
    view.merge(&begin(1));
    view.merge(&chunk(1, 0));
    assert_eq!(read(&view, &mut slow).len(), 2);
    view.merge(&end(1, 1));
    (2..20).for_each(|n| told(&mut view, n, 1));
    assert_eq!(read(&view, &mut slow), ["gap \"message-1:0\""]);
    told(&mut view, 20, 1);
    assert_eq!(read(&view, &mut slow).len(), 3);
}

#[test]
fn after_a_gap_comes_what_runs() {
    let mut view = View::new();
    view.load(&[]);
    let (mut slow, _) = view.follow_all(None, None);
    view.merge(&begin(1));
    assert_eq!(read(&view, &mut slow), ["begin message-1:b"]);
    view.merge(&end(1, 0));
    (2..20).for_each(|n| told(&mut view, n, 1));
    view.merge(&begin(20));
    assert_eq!(read(&view, &mut slow), ["gap \"message-1:b\"", "begin message-20:b"]);
    let (mut back, _) = view.follow_all(Some(Ok(&last("message-99:z"))), None);
    assert_eq!(read(&view, &mut back), ["gap \"message-99:z\"", "begin message-20:b"]);
}

#[test]
fn what_was_missed_is_shown() {
    let mut view = View::new();
    view.load(&[recorded(1, 0, 1, true)]);
    let (mut tab, _) = view.follow_all(None, None);
    view.load(&[recorded(1, 0, 1, true), recorded(2, 0, 1, true)]);
    assert_eq!(read(&view, &mut tab), ["begin message-2:b", "chunk message-2:0", "end message-2:z"]);
}

#[test]
fn a_lying_record_is_not_believed() {
    let mut view = View::new();
    view.load(&[Reply { offset: u32::MAX, ..recorded(1, 0, 3, true) }, Reply { next: 1, ..recorded(2, 0, 3, false) }]);
    view.merge_reply(&Reply { offset: u32::MAX - 1, next: u32::MAX, ..recorded(3, 0, 1, false) });
    assert!(view.find(&id(3)).is_some_and(|known| known.next() == 0));
}

/// A listener that is behind gets parts of a bounded size, and a large event as it is, shared with all others.
#[test]
fn who_is_behind_gets_no_large_copy() {
    let mut view = View::new();
    view.merge(&begin(1));
    let said = |index, length| What::Chunk { index, content: Cow::Owned("x".repeat(length)) };
    view.merge(&event(1, said(0, 3 * BATCH)));
    for index in 1..=100 {
        view.merge(&event(1, said(index, 1_000)));
    }
    view.merge(&end(1, 101));
    let (mut one, mut two) = (view.follow_one(&id(1), None), view.follow_one(&id(1), None));
    let mut parts = Vec::new();
    loop {
        let (here, there) = (view.read(&mut one), view.read(&mut two));
        let (Some(a), Some(b)) = (here.bytes, there.bytes) else { panic!("it ended without an end") };
        assert!(here.events == 1 || a.len() <= BATCH, "{} bytes for {} events", a.len(), here.events);
        assert_eq!(a.as_ptr() == b.as_ptr(), here.events == 1, "only what is alone is shared");
        parts.push((here.events, here.more));
        if here.over {
            break;
        }
    }
    assert_eq!(parts[..2], [(1, true), (1, true)], "the begin, then the large one");
    assert_eq!(parts.iter().map(|(events, _)| events).sum::<u64>(), 103);
    assert!(!parts.last().unwrap().1, "nothing was left");
}

/// A workflow may send many messages while a reply runs: that one stays, and they are shown after it.
#[test]
fn a_running_reply_stays_whatever_comes_behind_it() {
    let mut view = View::new();
    view.merge(&begin(1));
    let mut cursor = view.follow_one(&id(1), None);
    let (mut all, _) = view.follow_all(None, None);
    for n in 2..9 {
        let mut pushed = recorded(n, 0, 1, true);
        pushed.push_of = Some(id(1));
        view.merge_reply(&pushed);
    }
    view.merge(&chunk(1, 0));
    view.merge(&end(1, 1));
    assert_eq!(read(&view, &mut cursor), ["begin message-1:b", "chunk message-1:0", "end message-1:z"]);
    let shown = read(&view, &mut all);
    assert_eq!(shown[..4], ["begin message-1:b", "chunk message-1:0", "end message-1:z", "begin message-2:b"]);
    assert_eq!(shown.len(), 3 + 7 * 3);
}

/// That a reply waits is told once to each listener, after what there is of it, and not once it is over.
#[test]
fn a_reply_that_waits_says_so_once() {
    let mut view = View::new();
    view.merge(&begin(1));
    view.merge(&chunk(1, 0));
    let waiting = || event(1, What::Waiting { until: Millis(0) });
    let mut cursor = view.follow_one(&id(1), None);
    assert_eq!(view.merge(&waiting()), Merged::New);
    assert_eq!(view.merge(&waiting()), Merged::Nothing);
    assert_eq!(read(&view, &mut cursor), ["begin message-1:b", "chunk message-1:0", "waiting -"]);
    view.merge(&chunk(1, 1));
    assert_eq!(read(&view, &mut cursor), ["chunk message-1:1"]);
    view.merge(&end(1, 2));
    assert_eq!(read(&view, &mut cursor), ["end message-1:z"]);
    let mut late = view.follow_one(&id(1), None);
    assert!(!read(&view, &mut late).contains(&"waiting -".to_owned()));
}
