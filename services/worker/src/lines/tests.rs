use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { reply_bytes: 1024 * 1024 };

/// What real n8n sent (2.38.5): name, bytes.
const CAPTURES: [(&str, &[u8]); 19] = [
    ("agent-then-respond", include_bytes!("../../tests/captures/agent-then-respond.jsonl")),
    ("chat-stream", include_bytes!("../../tests/captures/chat-stream.jsonl")),
    ("empty-answer", include_bytes!("../../tests/captures/empty-answer.jsonl")),
    ("error-after", include_bytes!("../../tests/captures/error-after.jsonl")),
    ("error-before", include_bytes!("../../tests/captures/error-before.jsonl")),
    ("error-continue", include_bytes!("../../tests/captures/error-continue.jsonl")),
    ("error-middle", include_bytes!("../../tests/captures/error-middle.jsonl")),
    ("error-model-500", include_bytes!("../../tests/captures/error-model-500.jsonl")),
    ("keepalive", include_bytes!("../../tests/captures/keepalive.jsonl")),
    ("newlines", include_bytes!("../../tests/captures/newlines.jsonl")),
    ("respond-all-items", include_bytes!("../../tests/captures/respond-all-items.jsonl")),
    ("respond-json", include_bytes!("../../tests/captures/respond-json.jsonl")),
    ("responses-api", include_bytes!("../../tests/captures/responses-api.jsonl")),
    ("three-items", include_bytes!("../../tests/captures/three-items.jsonl")),
    ("time-limit", include_bytes!("../../tests/captures/time-limit.jsonl")),
    ("tool", include_bytes!("../../tests/captures/tool.jsonl")),
    ("tool-fails", include_bytes!("../../tests/captures/tool-fails.jsonl")),
    ("two-agents", include_bytes!("../../tests/captures/two-agents.jsonl")),
    ("utf8", include_bytes!("../../tests/captures/utf8.jsonl")),
];

const ERROR: Outcome = Outcome::Failed(FailureCode::UpstreamError);
const EMPTY: Outcome = Outcome::Failed(FailureCode::UpstreamEmpty);
const INVALID: Outcome = Outcome::Failed(FailureCode::UpstreamInvalid);
const UNREACHABLE: Outcome = Outcome::Failed(FailureCode::UpstreamUnreachable);

/// The pieces as owned text, and how it ended.
#[derive(Debug, PartialEq)]
struct Decoded {
    pieces: Vec<String>,
    outcome: Result<Outcome, TooLarge>,
}

impl Decoded {
    fn text(&self) -> String {
        self.pieces.iter().filter_map(|piece| piece.strip_prefix('=')).collect()
    }
}

fn decode<'a>(reads: impl IntoIterator<Item = &'a [u8]>, media: Media, limits: Limits) -> Decoded {
    let mut pieces = Vec::new();
    let mut sink = |piece: Piece<'_>| {
        pieces.push(match piece {
            Piece::Text(text) => format!("={text}"),
            other => format!("{other:?}"),
        });
    };
    let mut decoder = Decoder::new(limits, media);
    let mut outcome = Ok(());
    for read in reads {
        outcome = decoder.feed(read, &mut sink);
        if outcome.is_err() {
            break;
        }
    }
    let outcome = outcome.and_then(|()| decoder.finish(&mut sink));
    Decoded { pieces, outcome }
}

fn whole(body: &[u8]) -> Decoded {
    decode([body], Media::Json, LIMITS)
}

fn item(text: &str) -> String {
    format!("{}\n", serde_json::json!({"type":"item","content":text,"metadata":{"nodeId":"a","itemIndex":0}}))
}

#[test]
fn what_real_n8n_sent_becomes_one_reply() {
    let check = |name: &str, text: &str, outcome: Outcome| {
        let body = CAPTURES.iter().find(|(known, _)| *known == name).expect("a capture of that name").1;
        let decoded = whole(body);
        assert_eq!((decoded.text().as_str(), decoded.outcome), (text, Ok(outcome)), "{name}");
    };
    check("chat-stream", "tok1 tok2 tok3 tok4 ", Outcome::Complete);
    check("responses-api", "tok1 tok2 tok3 tok4 ", Outcome::Complete);
    check("keepalive", "tok1 tok2 ", Outcome::Complete);
    check(
        "newlines",
        "line one\nline two\r\n\n\n\ttab \"quoted\" back\\slash \0nul </script> {\"a\":1}\nend",
        Outcome::Complete,
    );
    check(
        "utf8",
        "Grüße aus Köln — 日本語テスト 😀👩\u{200d}👩\u{200d}👧\u{200d}👦 🇩🇪 é e\u{301} \u{2028}x 𝄞 עברית fin",
        Outcome::Complete,
    );
    check("tool", "Let me look. \n\ntok1 tok2 tok3 ", Outcome::Complete);
    check("two-agents", "tok1 tok2 \n\ntok1 tok2 tok3 ", Outcome::Complete);
    check("three-items", "tok1 tok2 \n\ntok1 tok2 \n\ntok1 tok2 ", Outcome::Complete);
    check("respond-json", "{\"reply\":\"hi\\nthere\",\"n\":1}", Outcome::Complete);
    check("respond-all-items", "{\"output\":\"first\"}\n\n{\"output\":\"second\",\"n\":2}", Outcome::Complete);
    check(
        "agent-then-respond",
        "tok1 tok2 \n\n{\"sources\":[\"a\",\"b\"],\"output\":\"tok1 tok2 \"}",
        Outcome::Complete,
    );
    // A tool's error is not the reply's; nor is that of a node after the answer.
    check("tool-fails", "Let me look. \n\ntok1 tok2 tok3 ", Outcome::Complete);
    check("error-after", "tok1 tok2 ", Outcome::Complete);
    check("error-continue", "tok1 tok2 \n\n{\"after\":true}", Outcome::Complete);
    check("error-before", "", ERROR);
    check("error-model-500", "", ERROR);
    check("error-middle", "tok1 tok2 ", ERROR);
    check("time-limit", "tok1 tok2 ", ERROR);
    check("empty-answer", "", EMPTY);
}

#[test]
fn pieces_come_in_order_and_begin_once() {
    let check = |name: &str, expected: &[&str]| {
        let body = CAPTURES.iter().find(|(known, _)| *known == name).expect("a capture of that name").1;
        assert_eq!(whole(body).pieces, expected, "{name}");
    };
    check("keepalive", &["Begun", "Alive", "Alive", "=tok1 ", "=tok2 "]);
    check("error-before", &["ErrorSeen"]);
    check("error-middle", &["Begun", "=tok1 ", "=tok2 ", "ErrorSeen"]);
    check("two-agents", &["Begun", "=tok1 ", "=tok2 ", "=\n\ntok1 ", "=tok2 ", "=tok3 "]);
}

#[test]
fn lines_mean_what_their_order_says() {
    let check = |lines: &[&str], text: &str, outcome: Outcome| {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let decoded = whole(body.as_bytes());
        assert_eq!((decoded.text().as_str(), decoded.outcome), (text, Ok(outcome)), "{lines:?}");
    };
    const BEGIN: &str = r#"{"type":"begin"}"#;
    const END: &str = r#"{"type":"end"}"#;
    const ONE: &str = r#"{"type":"item","content":"one"}"#;
    const TWO: &str = r#"{"type":"item","content":"two"}"#;
    const LF: &str = r#"{"type":"item","content":"\n"}"#;
    const FAIL: &str = r#"{"type":"error","content":"sk-secret"}"#;

    // Respond to Webhook may send its item without a begin.
    check(&[ONE], "one", Outcome::Complete);
    check(&[ONE, TWO], "onetwo", Outcome::Complete);
    check(&[ONE, END, TWO], "one\n\ntwo", Outcome::Complete);
    check(&[ONE, BEGIN, TWO, END], "one\n\ntwo", Outcome::Complete);
    // A blank line only between turns that have text, and only where there is none.
    check(&[BEGIN, ONE, LF, END, BEGIN, TWO, END], "one\ntwo", Outcome::Complete);
    check(&[BEGIN, END, BEGIN, ONE, END, BEGIN, END, BEGIN, TWO, END, BEGIN, END], "one\n\ntwo", Outcome::Complete);
    // A second try of a node that failed: n8n went on, so the failure is forgiven.
    check(&[BEGIN, ONE, FAIL, BEGIN, TWO, END], "one\n\ntwo", Outcome::Complete);
    check(&[BEGIN, ONE, END, BEGIN, TWO, FAIL], "one\n\ntwo", ERROR);
    check(&[BEGIN, ONE, FAIL, FAIL], "one", ERROR);
    check(&[ONE, FAIL], "one", Outcome::Complete);
    check(&[BEGIN, END, FAIL], "", ERROR);
    check(&[FAIL, BEGIN, END], "", ERROR);
    // What this version doesn't know is ignored, wherever it stands.
    check(
        &[r#"{"type":"start","v":2}"#, BEGIN, r#"{"type":"tool","content":"no"}"#, ONE, END],
        "one",
        Outcome::Complete,
    );
    check(&[BEGIN, "", "  ", "data: x", r#"["item","no"]"#, "7", "{", ONE, END], "one", Outcome::Complete);
    check(&[BEGIN, r#"{"content":"no"}"#, r#"{"type":7,"content":"no"}"#, ONE, END], "one", Outcome::Complete);
    check(&[BEGIN, r#"{"type":"item","content":null}"#, r#"{"type":"item"}"#, ONE, END], "one", Outcome::Complete);
    check(&[BEGIN, r#"{"type":"item","content":["a"]}"#, r#"{"type":"item","content":{"a":1}}"#, END], "", EMPTY);
    check(&[BEGIN, r#"{"type":"error","content":null}"#], "", ERROR);
    check(&[r#"{"type":"keepalive"}"#], "", EMPTY);
    // A proxy's page in the middle of the stream.
    check(&[BEGIN, ONE, "<html><body>504 Gateway Time-out", "</body></html>"], "one", UNREACHABLE);
    check(&[BEGIN, ONE, "<b>no page</b>", END], "one", Outcome::Complete);
}

#[test]
fn an_error_line_never_speaks() {
    let body =
        b"{\"type\":\"error\",\"content\":\"sk-secret\"}\n{\"type\":\"error\",\"content\":{\"a\":\"sk-secret\"}}\n";
    assert_eq!(whole(body).pieces, ["ErrorSeen", "ErrorSeen"]);
}

#[test]
fn the_last_line_may_lack_its_newline() {
    let check = |body: &str, text: &str, outcome: Outcome| {
        let decoded = whole(body.as_bytes());
        assert_eq!((decoded.text().as_str(), decoded.outcome), (text, Ok(outcome)), "{body}");
    };
    check(r#"{"type":"item","content":"x"}"#, "x", Outcome::Complete);
    check("{\"type\":\"begin\"}\r\n{\"type\":\"item\",\"content\":\"x\"}", "x", Outcome::Complete);
    check(r#"{"type":"error","message":"no"}"#, "", ERROR);
    check("\n\n  {\"type\":\"item\",\"content\":\"x\"}\n", "x", Outcome::Complete);
}

/// JavaScript writes half a surrogate pair as an escape, and nothing says that all bytes are UTF-8.
#[test]
fn broken_characters_cost_a_character_not_a_line() {
    let check = |content: &[u8], text: &str| {
        let body = [b"{\"type\":\"item\",\"content\":\"".as_slice(), content, b"\"}\n"].concat();
        assert_eq!(whole(&body).text(), text);
    };
    check(br"a\ud83d b", "a\u{fffd}\u{fffd}\u{fffd} b");
    check(br"a\ud83d\ude00b", "a😀b");
    check(b"a\xff b", "a\u{fffd} b");
    check(br"\u0000\u001b[2J\u202e", "\0\u{1b}[2J\u{202e}");
}

#[test]
fn one_document_is_a_reply_too() {
    let check_as = |media: Media, body: &str, expected: Result<&str, Outcome>| {
        let decoded = decode([body.as_bytes()], media, LIMITS);
        let expected = match expected {
            Ok(text) => (text, Ok(Outcome::Complete)),
            Err(outcome) => ("", Ok(outcome)),
        };
        assert_eq!((decoded.text().as_str(), decoded.outcome), expected, "{media:?} {body}");
    };
    let check = |body: &str, expected: Result<&str, Outcome>| check_as(Media::Json, body, expected);

    for key in ["output", "text", "message", "response", "answer", "content", "reply"] {
        check(&format!(r#"{{"n":1,"{key}":"hi\nthere"}}"#), Ok("hi\nthere"));
        check(&format!(r#"{{"data":{{"{key}":"hi"}}}}"#), Ok("hi"));
        check(&format!(r#"{{"json":{{"{key}":"hi"}}}}"#), Ok("hi"));
        check(&format!(r#"[{{"{key}":"hi"}},{{"{key}":"no"}}]"#), Ok("hi"));
    }
    check("{\n  \"output\": \"pretty\"\n}\n", Ok("pretty"));
    check(r#"[{"json":{"output":"deep"}}]"#, Ok("deep"));
    check(r#"{"data":[{"text":"deep"}]}"#, Ok("deep"));
    check(r#"{"reply":"last","output":"first"}"#, Ok("first"));
    check(r#"{"data":{"output":"inner"},"reply":"outer"}"#, Ok("outer"));
    check(r#"{"output":{"no":1},"text":"hi"}"#, Ok("hi"));
    check(r#"{"output":"","text":"hi"}"#, Ok("hi"));
    check(r#"{"type":"message","content":"hi"}"#, Ok("hi"));
    check("{\"type\":\"message\",\"content\":\"hi\"}\n", Ok("hi"));
    check(r#""just a string""#, Ok("just a string"));
    check(r#"{"message":"Workflow was started","output":"hi"}"#, Ok("hi"));
    check(r#"{"output":"Workflow was started"}"#, Ok("Workflow was started"));
    check(r#"{"message":"Workflow was started"}"#, Err(Outcome::Started));
    for body in ["{}", "[]", "[[]]", "null", "7", "true", r#"{"n":1}"#, r#"{"output":7}"#, r#"{"data":"x"}"#, "[7]"] {
        check(body, Err(INVALID));
    }
    for body in ["{\"output\":", "{\"output\":\"x\"} trailing", "hello", "{}\n{}\n", "[1,"] {
        check(body, Err(INVALID));
    }
    for body in ["", " \r\n ", r#"{"output":""}"#] {
        check(body, Err(EMPTY));
    }
    for body in
        ["<!DOCTYPE html><p>Bad", "<html lang='en'>", "<!-- x -->\n<HTML>", "<?xml version='1.0'?><!doctype html >"]
    {
        check(body, Err(UNREACHABLE));
        check_as(Media::Text, body, Err(UNREACHABLE));
        check_as(Media::Missing, body, Err(UNREACHABLE));
        check_as(Media::Other, body, Err(UNREACHABLE));
    }
    for media in [Media::Text, Media::Missing] {
        check_as(media, "You said: hi", Ok("You said: hi"));
        check_as(media, "  two\nlines \n", Ok("two\nlines"));
        check_as(media, "<p>Some <b>markup</b></p>", Ok("<p>Some <b>markup</b></p>"));
        check_as(media, "Write <html> and <body> first", Ok("Write <html> and <body> first"));
        check_as(media, "{name}, hello", Ok("{name}, hello"));
        check_as(media, "[1] is a footnote", Ok("[1] is a footnote"));
        check_as(media, r#""quoted""#, Ok(r#""quoted""#));
        check_as(media, r#"{"output":"json"}"#, Ok("json"));
        check_as(media, "n8n is starting up. Please wait", Err(Outcome::Starting));
    }
    check_as(Media::Other, "GIF89a", Err(INVALID));
    check_as(Media::Other, "data: hi\n\n", Err(INVALID));
    check_as(Media::Other, &item("lines are lines"), Ok("lines are lines"));
}

#[test]
fn content_types_are_read_as_servers_write_them() {
    let check = |text: Option<&str>, expected: Media| assert_eq!(Media::of(text), expected, "{text:?}");
    check(Some("application/json; charset=utf-8"), Media::Json);
    check(Some("Application/JSON"), Media::Json);
    check(Some("application/problem+json"), Media::Json);
    check(Some("application/x-ndjson"), Media::Json);
    check(Some("text/html; charset=utf-8"), Media::Text);
    check(Some("text/plain"), Media::Text);
    check(Some("text/event-stream"), Media::Other);
    check(Some("image/png"), Media::Other);
    check(Some(" "), Media::Missing);
    check(None, Media::Missing);
}

#[test]
fn long_text_is_cut_at_characters() {
    let text = "€".repeat(200_000 / 3);
    let decoded = whole(item(&text).as_bytes());
    assert_eq!(decoded.text(), text);
    assert!(decoded.pieces.len() > 10);
    assert!(decoded.pieces.iter().all(|piece| piece.len() <= PIECE_BYTES + 1));
}

#[test]
fn what_is_too_large_is_refused() {
    let limits = Limits { reply_bytes: 10 };
    let check = |body: &str, expected: Result<Outcome, TooLarge>| {
        // In reads of a size that sockets give, so that the limit on a cut line counts.
        assert_eq!(decode(body.as_bytes().chunks(4096), Media::Text, limits).outcome, expected, "{}", body.len());
    };
    check(&item("0123456789"), Ok(Outcome::Complete));
    check(&item("01234567890"), Err(TooLarge));
    check(&[item("012345"), item("6789")].concat(), Ok(Outcome::Complete));
    check(&[item("012345"), item("67890")].concat(), Err(TooLarge));
    // The blank line between two turns counts.
    check(&[item("01234"), "{\"type\":\"end\"}\n".to_owned(), item("567")].concat(), Ok(Outcome::Complete));
    check(&[item("01234"), "{\"type\":\"end\"}\n".to_owned(), item("5678")].concat(), Err(TooLarge));
    check("0123456789", Ok(Outcome::Complete));
    check("01234567890", Err(TooLarge));
    check(r#"{"output":"01234567890"}"#, Err(TooLarge));
    // One line without end, a document without end, lines without end.
    check(&format!("{}{}", item("x"), "x".repeat(70_000)), Err(TooLarge));
    check(&format!("{{\"type\":\"item\",\"x\":\"{}", "x".repeat(70_000)), Err(TooLarge));
    check(&"x".repeat(70_000), Err(TooLarge));
    check(&"{\"type\":\"keepalive\"}\n".repeat(4000), Err(TooLarge));
    check(&"\n".repeat(70_000), Err(TooLarge));
}

#[test]
fn an_error_is_fatal_inside_a_turn_or_before_any() {
    let check = |lines: &str, expected: bool| {
        let mut decoder = Decoder::new(LIMITS, Media::Json);
        decoder.feed(lines.as_bytes(), &mut |_| {}).expect("small");
        assert_eq!(decoder.is_failing(), expected, "{lines}");
    };
    check("{\"type\":\"error\"}\n", true);
    check("{\"type\":\"begin\"}\n{\"type\":\"error\"}\n", true);
    check("{\"type\":\"begin\"}\n{\"type\":\"end\"}\n{\"type\":\"error\"}\n", false);
    check("{\"type\":\"begin\"}\n{\"type\":\"error\"}\n{\"type\":\"begin\"}\n", false);
    check("{\"type\":\"begin\"}\n", false);
}

/// All captures byte by byte, and every single cut of the one with characters of every length.
#[test]
fn cuts_say_nothing() {
    for (name, body) in CAPTURES {
        let expected = whole(body);
        assert_eq!(decode(body.chunks(1), Media::Json, LIMITS), expected, "{name} byte by byte");
        for cut in (0..=body.len()).filter(|_| name == "utf8") {
            let (first, second) = body.split_at(cut);
            assert_eq!(decode([first, second], Media::Json, LIMITS), expected, "{name} cut at {cut}");
        }
    }
}

fn reads<'a>(body: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut reads, mut rest) = (Vec::new(), body);
    for size in sizes {
        let (read, after) = rest.split_at((*size).min(rest.len()));
        reads.push(read);
        rest = after;
    }
    reads.push(rest);
    reads
}

proptest! {
    #[test]
    fn any_way_of_cutting_gives_the_same(
        capture in 0..CAPTURES.len(),
        sizes in proptest::collection::vec(0_usize..400, 0..30),
    ) {
        let body = CAPTURES[capture].1;
        prop_assert_eq!(decode(reads(body, &sizes), Media::Json, LIMITS), whole(body));
    }

    #[test]
    fn any_bytes_are_survived_and_cut_alike(
        parts in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..20),
                "[\\[\\]{}\":,\\\\a-c\n <]{0,20}".prop_map(String::into_bytes),
                Just(b"{\"type\":\"begin\"}\n".to_vec()),
                Just(b"{\"type\":\"item\",\"content\":\"x\\n\"}\n".to_vec()),
                Just(b"{\"type\":\"error\"}\n".to_vec()),
                Just(b"{\"type\":\"other\"}\n".to_vec()),
                Just(b"{\"output\":\"x\"}".to_vec()),
                Just(b"<html>".to_vec()),
            ],
            0..12,
        ),
        sizes in proptest::collection::vec(0_usize..40, 0..30),
        media in prop_oneof![Just(Media::Json), Just(Media::Text), Just(Media::Missing), Just(Media::Other)],
    ) {
        let body = parts.concat();
        prop_assert_eq!(decode(reads(&body, &sizes), media, LIMITS), decode([body.as_slice()], media, LIMITS));
    }
}
