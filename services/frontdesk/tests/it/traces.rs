//! What a trace tells of a message: from the browser's word through every process to n8n, and back to the last byte.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use worker::demo::{Gate, Script};

use crate::{
    collector::{Collector, Span},
    desk::Desk,
    visitor::{FINGERPRINT, Stream, Visitor, text},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const BROWSER: &str = "00f067aa0ba902b7";
const SEND: &str = "send chat.req.{session}";
const PROCESS: &str = "process chat.req.{session}";
const STORE: &str = "process fact.{site}.{kind}";
const SAY: &str = "POST /api/v1/chat/message";
const LISTEN: &str = "GET /api/v1/chat/stream/{session_id}";

/// What a browser sends; as the flag says, it would not keep the trace.
fn parent() -> String {
    format!("00-{TRACE}-{BROWSER}-00")
}

async fn say(visitor: &Visitor, words: &str, traceparent: &str) -> Stream {
    let said = visitor.post("/api/v1/chat/message", &json!({"message": words, "message_id": "message-1"}));
    Stream::of(said.header("traceparent", traceparent).send().await.expect("the edge answers"))
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

/// One after the other, each the child of the one before.
fn check_chain(spans: &[&Span]) {
    for pair in spans.windows(2) {
        assert_eq!(pair[1].parent, pair[0].id, "{pair:#?}");
        assert_eq!(pair[1].trace, pair[0].trace);
    }
}

/// The traceparents that n8n was given.
fn given(desk: &Desk) -> Vec<String> {
    let requests = desk.n8n.requests();
    requests.iter().map(|seen| seen.headers["traceparent"].to_str().expect("text").to_owned()).collect()
}

/// Every process has its part in the one trace that the browser began: kinds, parents, attributes, and times that hold
/// each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_is_one_trace() {
    let collector = Collector::start().await;
    let desk = Desk::spread(1, 1, &collector.settings()).await;
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::lines().begin().items(["Hel"]).pause(Duration::from_millis(60)).items(["lo"]).end());

    let events = say(&visitor, "zebra", &parent()).await.rest().await;

    assert_eq!(text(&events), "Hello");
    let wanted = [(SAY, 1), ("reply", 1), (SEND, 1), (PROCESS, 1), ("POST n8n", 1), (STORE, 2)];
    let spans = collector.trace(TRACE, &wanted).await;
    let [call, reply, send, process, n8n] = [SAY, "reply", SEND, PROCESS, "POST n8n"].map(|name| one(&spans, name));
    assert_eq!(call.parent, BROWSER);
    check_chain(&[call, reply, send, process, n8n]);
    use SpanKind::{Client, Consumer, Internal, Producer, Server};
    let kinds = [call, reply, send, process, n8n].map(|span| span.kind);
    assert_eq!(kinds, [Server, Internal, Producer, Consumer, Client]);
    let services = [call, reply, send, process, n8n].map(|span| span.service.as_str());
    let [edge, worker] = ["frontdesk-edge", "frontdesk-worker"];
    assert_eq!(services, [edge, edge, edge, worker, worker]);

    // A call lasts until the last byte of the reply, which holds all that was done for it.
    assert!(call.contains(reply) && reply.contains(send) && reply.contains(process) && process.contains(n8n));
    assert!(n8n.end - n8n.start >= 60_000_000, "{n8n:#?}");

    let check = |span: &Span, attributes: &[(&str, &str)], events: &[&str]| {
        for (name, value) in attributes {
            assert_eq!(span.get(name), *value, "{name} of {span:#?}");
        }
        assert_eq!(span.events, events, "{span:#?}");
        assert!(!span.failed);
    };
    let route = "\"/api/v1/chat/message\"";
    check(
        call,
        &[
            ("http.request.method", "\"POST\""),
            ("http.route", route),
            ("http.response.status_code", "200"),
            ("frontdesk.site", "\"default\""),
        ],
        &[],
    );
    let told = [("frontdesk.outcome", "\"stop\""), ("frontdesk.chunks", "2"), ("frontdesk.resumed", "false")];
    check(reply, &told, &["first_chunk", "end"]);
    assert!(reply.get("frontdesk.bytes").parse::<u64>().is_ok_and(|bytes| bytes > 100), "{reply:#?}");
    let queue = [("messaging.system", "\"nats\""), ("messaging.destination.template", "\"chat.req.{session}\"")];
    check(send, &queue, &[]);
    check(send, &[("messaging.operation.type", "\"send\"")], &[]);
    check(process, &queue, &[]);
    let ran =
        [("messaging.operation.type", "\"process\""), ("frontdesk.attempt", "1"), ("frontdesk.outcome", "\"stop\"")];
    check(process, &ran, &[]);
    let url = desk.n8n.url();
    let (host, port) = (format!("{:?}", url.host_str().expect("a host")), url.port().expect("a port").to_string());
    check(
        n8n,
        &[("http.response.status_code", "200"), ("server.address", &host), ("server.port", &port)],
        &["first_chunk", "stream_end"],
    );

    // That it was accepted and how it ended are stored within the trace as well.
    let stored: Vec<&Span> = spans.iter().filter(|span| span.name == STORE).collect();
    let parents: Vec<(&str, &str)> =
        stored.iter().map(|span| (span.get("frontdesk.fact"), span.parent.as_str())).collect();
    assert!(parents.contains(&("\"message_accepted\"", send.id.as_str())), "{stored:#?}");
    assert!(parents.contains(&("\"reply_ended\"", process.id.as_str())), "{stored:#?}");
    assert!(stored.iter().all(|span| span.service == "frontdesk-analytics" && span.kind == Consumer));

    // n8n's own spans would be below the very call; what NATS holds says the same as what is in it.
    assert_eq!(given(&desk), [format!("00-{TRACE}-{}-01", n8n.id)]);
    let facts = desk.jetstream().await.get_stream("FACTS").await.expect("it is there");
    let fact = facts.get_last_raw_message_by_subject("fact.default.reply_ended").await.expect("it was told");
    let header = fact.headers.get("traceparent").map(ToString::to_string);
    assert_eq!(header, Some(format!("00-{TRACE}-{}-01", process.id)));
    assert!(fact.headers.get("tracestate").is_none());
}

/// The same in one process, whose own queue is no NATS.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_in_one_is_one_trace_as_well() {
    let collector = Collector::start().await;
    let settings = [&collector.settings()[..], &[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20key")]].concat();
    let desk = Desk::all_in_one(&settings).await;
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::says(["hello"]));
    say(&visitor, "hi", &parent()).await.rest().await;

    let wanted = [(SAY, 1), ("reply", 1), (SEND, 1), (PROCESS, 1), ("POST n8n", 1), (STORE, 2)];
    let spans = collector.trace(TRACE, &wanted).await;
    check_chain(&[SAY, "reply", SEND, PROCESS, "POST n8n"].map(|name| one(&spans, name)));
    assert!(spans.iter().all(|span| span.service == "frontdesk"));
    assert_eq!(one(&spans, SEND).get("messaging.system"), "\"frontdesk\"");
    assert!(collector.headers().iter().all(|headers| headers["x-key"] == "a key"));
    // What was sent is counted, and the slowest first word leads to its trace.
    let metrics = desk.edges[0].open_metrics().await;
    assert!(metrics.contains("frontdesk_telemetry_dropped_total 0"), "{metrics}");
    for histogram in ["edge_first_chunk", "worker_first_text", "worker_reply"] {
        let is_linked = |line: &str| {
            line.starts_with(&format!("frontdesk_{histogram}_seconds_bucket"))
                && line.contains(&format!("# {{trace_id=\"{TRACE}\"}}"))
        };
        assert!(metrics.lines().any(is_linked), "{histogram} in {metrics}");
    }
}

/// Who comes back at another edge is in the same trace: by their own word, and where they don't know it by a link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_reply_is_in_the_trace() {
    let collector = Collector::start().await;
    let desk = Desk::spread(2, 1, &collector.settings()).await;
    let visitor = desk.visitor().await;
    let gate = Gate::new();
    desk.n8n.will(Script::lines().begin().items(["one "]).wait(&gate).items(["two"]).end());
    let mut reply = say(&visitor, "hi", &parent()).await;
    let last = reply.chunks(1).await.pop().and_then(|chunk| chunk.id).expect("chunks have ids");
    drop(reply);

    let elsewhere = visitor.at(&desk.edges[1].url);
    let path = format!("/api/v1/chat/stream/{}", visitor.session);
    let again = |traceparent: Option<&str>| {
        let request = elsewhere.get(&path).header("last-event-id", &last);
        match traceparent {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        }
    };
    let knows = format!("00-{TRACE}-00f067aa0ba902b8-01");
    let mut knowing = Stream::of(again(Some(&knows)).send().await.expect("the edge answers"));
    let mut unknowing = Stream::of(again(None).send().await.expect("the edge answers"));
    gate.open();
    for stream in [&mut knowing, &mut unknowing] {
        assert_eq!(text(&stream.until("end").await), "two");
    }

    let spans = collector.trace(TRACE, &[(LISTEN, 1), ("reply", 2), (PROCESS, 1), (SAY, 1)]).await;
    let listening = one(&spans, LISTEN);
    let resumed = spans.iter().find(|span| span.get("frontdesk.resumed") == "true").expect("it was resumed");
    let left = spans.iter().find(|span| span.get("frontdesk.resumed") == "false").expect("it began");
    assert_eq!((listening.parent.as_str(), resumed.parent.as_str()), ("00f067aa0ba902b8", listening.id.as_str()));
    assert_eq!(left.get("frontdesk.outcome"), "\"left\"");
    assert_eq!(resumed.events, ["resume", "first_chunk", "end"]);
    assert_eq!((resumed.get("frontdesk.outcome"), resumed.get("frontdesk.chunks")), ("\"stop\"", "1"));
    assert!(listening.contains(resumed) && resumed.links.is_empty());
    assert_ne!(left.instance, "");
    assert_eq!(one(&spans, LISTEN).get("http.route"), "\"/api/v1/chat/stream/{session_id}\"");

    // The stream goes on for what comes later; its span ended with the reply.
    let until = Instant::now() + crate::desk::LIMIT;
    let linked = loop {
        let spans = collector.spans();
        if let Some(linked) = spans.into_iter().find(|span| span.name == "reply" && span.trace != TRACE) {
            break linked;
        }
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(linked.links, [TRACE]);
    assert_eq!(linked.events, ["resume", "first_chunk", "end"]);
}

/// Each try is a call of its own below the one run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_a_call_of_its_own() {
    let collector = Collector::start().await;
    let settings = [&collector.settings()[..], &[("N8N_RETRY_BACKOFF", "10ms")]].concat();
    let desk = Desk::spread(1, 1, &settings).await;
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::of(503, "text/plain").header("retry-after", "0")).will(Script::says(["hello"]));
    assert_eq!(text(&say(&visitor, "hi", &parent()).await.rest().await), "hello");

    let spans = collector.trace(TRACE, &[(PROCESS, 1), ("POST n8n", 2)]).await;
    let process = one(&spans, PROCESS);
    let mut calls: Vec<&Span> = spans.iter().filter(|span| span.name == "POST n8n").collect();
    calls.sort_by_key(|call| call.start);
    assert_eq!(process.events, ["retry"]);
    assert!(calls.iter().all(|call| call.parent == process.id && process.contains(call)), "{calls:#?}");
    assert!(calls[0].end <= calls[1].start, "{calls:#?}");
    let told = |call: &Span| {
        let get = |name: &str| call.get(name).to_owned();
        (get("http.response.status_code"), get("http.request.resend_count"), get("error.type"), call.failed)
    };
    let unreachable = "\"upstream_unreachable\"";
    assert_eq!(told(calls[0]), ("503".into(), String::new(), unreachable.into(), true));
    assert_eq!(told(calls[1]), ("200".into(), "1".into(), String::new(), false));
    let expected: Vec<String> = calls.iter().map(|call| format!("00-{TRACE}-{}-01", call.id)).collect();
    assert_eq!(given(&desk), expected);
}

/// A visitor who stops a reply, and n8n that fails: both show where they happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_and_a_failure_are_told() {
    let collector = Collector::start().await;
    let desk = Desk::spread(1, 1, &collector.settings()).await;
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::lines().begin().items(["one"]).hang());
    let mut reply = say(&visitor, "hi", &parent()).await;
    reply.chunks(1).await;
    let stop = visitor.post("/api/v1/chat/cancel", &json!({"message_id": "message-1"}));
    assert_eq!(stop.header("traceparent", parent()).send().await.expect("the edge answers").status(), 202);
    reply.rest().await;
    let stop = "POST /api/v1/chat/cancel";
    let spans = collector.trace(TRACE, &[(SAY, 1), ("reply", 1), (PROCESS, 1), ("POST n8n", 1), (stop, 1)]).await;
    assert_eq!(one(&spans, "reply").events, ["first_chunk", "cancel"]);
    assert_eq!(one(&spans, PROCESS).events, ["cancel"]);
    assert_eq!(one(&spans, PROCESS).get("frontdesk.outcome"), "\"cancelled\"");
    assert_eq!(one(&spans, "POST n8n").events, ["first_chunk", "closed"]);
    assert!(spans.iter().all(|span| !span.failed), "{spans:#?}");

    desk.n8n.will(Script::of(403, "application/json"));
    let other = "0af7651916cd43dd8448eb211c80319c";
    let said = visitor.post("/api/v1/chat/message", &json!({"message": "hi", "message_id": "message-2"}));
    let said = said.header("traceparent", format!("00-{other}-{BROWSER}-01")).send().await.expect("the edge answers");
    Stream::of(said).rest().await;
    let spans = collector.trace(other, &[(SAY, 1), ("reply", 1), (PROCESS, 1), ("POST n8n", 1)]).await;
    for name in ["reply", PROCESS, "POST n8n"] {
        let span = one(&spans, name);
        assert!(span.failed && span.get("error.type") == "\"upstream_unauthorized\"", "{span:#?}");
    }
    assert!(!one(&spans, SAY).failed, "the call itself went well");
}

/// At a share of 0 nothing is sent, whatever a browser asks for; ids go all the way, and stand in the logs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_forces_nothing() {
    let collector = Collector::start().await;
    let more = [("OTEL_TRACES_SAMPLER_ARG", "0"), ("LOG_FORMAT", "json"), ("LOG_LEVEL", "info")];
    let mut desk = Desk::spread(1, 1, &[&collector.settings()[..], &more].concat()).await;
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::says(["hello"]));
    say(&visitor, "hi", &format!("00-{TRACE}-{BROWSER}-01")).await.rest().await;

    let given = given(&desk);
    assert!(given[0].starts_with(&format!("00-{TRACE}-")) && given[0].ends_with("-00"), "{given:?}");
    assert!(!given[0].contains(BROWSER));
    for process in desk.edges.iter_mut().chain(&mut desk.workers) {
        process.signal("TERM");
        process.ended().await;
        let log = process.log();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let traced: Vec<Value> = lines.filter(|line| line["trace_id"] == TRACE).collect();
        let of_edge =
            traced.iter().any(|line| line["message"] == "answered" && line["route"] == "/api/v1/chat/message");
        let of_worker = traced.iter().any(|line| line["message"] == "a reply is over");
        assert!(of_edge || of_worker, "{log}");
        assert!(traced.iter().all(|line| line["sampled"] == false && line["span_id"].is_string()), "{log}");
    }
    assert!(collector.headers().is_empty(), "{:#?}", collector.spans());
}

/// Without a collector ids still go with each message; with traces off altogether, the browser's own goes on to n8n.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_go_along_without_a_collector() {
    for off in ["false", "true"] {
        let desk = Desk::all_in_one(&[("OTEL_SDK_DISABLED", off)]).await;
        let visitor = desk.visitor().await;
        desk.n8n.will(Script::says(["hello"]));
        // As it says, it keeps the trace; here nothing is kept, and no figure may lead to it.
        let own = format!("00-{TRACE}-{BROWSER}-01");
        say(&visitor, "hi", &own).await.rest().await;
        let given = given(&desk);
        assert!(given[0].starts_with(&format!("00-{TRACE}-")), "{given:?}");
        // Its flag is not its own to set.
        assert_eq!(given[0] == own.replace("-01", "-00"), off == "true", "{given:?}");
        let metrics = desk.edges[0].open_metrics().await;
        assert!(metrics.contains("frontdesk_edge_first_chunk_seconds_count 1"), "{metrics}");
        assert!(!metrics.contains(TRACE), "{metrics}");
        assert_eq!(desk.edges[0].log().contains(&format!("trace_id={TRACE}")), off == "false");
    }
}

/// What went wrong is found by the id in its problem document: the trace's, unless a proxy of ours gave one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_names_its_trace() {
    let desk = Desk::all_in_one(&[]).await;
    let visitor = desk.visitor().await;
    let ask = async |traceparent: Option<&str>| {
        let mut request = visitor.get_plain("/api/v1/session/validate").header("x-request-id", "a-proxys-own-id");
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let answer = request.send().await.expect("the edge answers");
        let header = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["request_id"], header);
        header
    };
    let [first, second] = [ask(Some(&parent())).await, ask(Some(&parent())).await];
    assert!(first.starts_with(&format!("{TRACE}-")) && second.starts_with(&format!("{TRACE}-")), "{first} {second}");
    assert_ne!(first, second, "a browser says the same trace with each call");
    for id in [first, ask(None).await] {
        let (trace, span) = id.split_once('-').expect("both ids");
        desk.edges[0].until_log(&format!("trace_id={trace} span_id={span}")).await;
    }

    let desk = Desk::all_in_one(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let visitor = desk.visitor().await;
    let request = visitor.get_plain("/api/v1/session/validate").header("traceparent", parent());
    let answer = request.header("x-request-id", "a-proxys-own-id").send().await.expect("the edge answers");
    assert_eq!(answer.headers()["x-request-id"], "a-proxys-own-id");
    desk.edges[0].until_log(&format!("trace_id={TRACE}")).await;
}

/// Whoever is refused at the door, or only asks whether to come in, makes no span: a flood would fill the collector.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_at_the_door_makes_no_span() {
    let collector = Collector::start().await;
    let settings = [&collector.settings()[..], &[("RATE_LIMIT_PER_MINUTE", "3")]].concat();
    let mut desk = Desk::all_in_one(&settings).await;
    let (edge, http) = (desk.edges[0].url.clone(), reqwest::Client::builder().no_proxy().build().expect("a client"));
    let url = format!("{edge}/api/v1/session/validate");
    let preflight = http.request(reqwest::Method::OPTIONS, &url).header("origin", &edge);
    let preflight = preflight.header("access-control-request-method", "GET").header("traceparent", parent());
    assert_eq!(preflight.send().await.expect("the edge answers").status(), 204);
    let foreign = http.get(&url).header("origin", "https://elsewhere.example").header("traceparent", parent());
    assert_eq!(foreign.send().await.expect("the edge answers").status(), 403);
    let mut statuses = vec![];
    for _ in 0..6 {
        let answer = http.get(&url).header("traceparent", parent()).send().await.expect("the edge answers");
        let id = answer.headers()["x-request-id"].to_str().expect("text");
        assert_eq!(id.starts_with(TRACE), answer.status() == 401, "{id}");
        statuses.push(answer.status().as_u16());
    }
    let let_in = statuses.iter().filter(|status| **status == 401).count();
    assert!(let_in > 0 && statuses.ends_with(&[429]), "{statuses:?}");
    // What is left is sent at the end.
    desk.edges[0].signal("TERM");
    desk.edges[0].ended().await;
    let spans = collector.spans();
    let answered: Vec<&str> = spans.iter().map(|span| span.get("http.response.status_code")).collect();
    assert_eq!(answered, vec!["401"; let_in], "{spans:#?}");
}

/// Nor does whoever has begun all the sessions that an address may begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_begin_no_session_makes_no_span() {
    let collector = Collector::start().await;
    let limits = [("RATE_LIMIT_PER_MINUTE", "0"), ("RATE_LIMIT_CREATE_PER_MINUTE", "2")];
    let mut desk = Desk::all_in_one(&[&collector.settings()[..], &limits].concat()).await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/api/v1/session/create", desk.edges[0].url);
    let create = async |body: Value| {
        let answer =
            http.post(&url).header("traceparent", parent()).json(&body).send().await.expect("the edge answers");
        let id = answer.headers()["x-request-id"].to_str().expect("text");
        assert_eq!(id.starts_with(TRACE), answer.status() != 429, "{id}");
        answer.status().as_u16()
    };
    // What is refused for its body begins none.
    assert_eq!(create(json!({})).await, 400);
    let mut statuses = vec![];
    for _ in 0..8 {
        statuses.push(create(json!({"fingerprint": FINGERPRINT})).await);
    }
    let begun = statuses.iter().filter(|status| **status == 200).count();
    assert!(begun >= 2 && statuses.ends_with(&[429]), "{statuses:?}");
    assert_eq!(desk.edges[0].metric("frontdesk_edge_rate_limited_total").await, (8 - begun) as f64);
    desk.edges[0].signal("TERM");
    desk.edges[0].ended().await;
    let spans = collector.spans();
    let mut answered: Vec<&str> = spans.iter().map(|span| span.get("http.response.status_code")).collect();
    answered.sort_unstable();
    assert_eq!(answered, [vec!["200"; begun], vec!["400"]].concat(), "{spans:#?}");
}

/// What a reply's span says where no reply went out: refused is only what was answered with a problem.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_no_refusal() {
    let collector = Collector::start().await;
    let desk = Desk::all_in_one(&collector.settings()).await;
    let visitor = desk.visitor().await;
    let path = format!("/api/v1/chat/stream/{}?message_id=message-9", visitor.session);
    let ask = visitor.get(&path).header("traceparent", parent());
    drop(Stream::of(ask.send().await.expect("the edge answers")));
    let spans = collector.trace(TRACE, &[("reply", 1)]).await;
    assert_eq!(one(&spans, "reply").get("frontdesk.outcome"), "\"gap\"");

    let other = "0af7651916cd43dd8448eb211c80319c";
    let path = format!("{path}&message=%20");
    let ask = visitor.get(&path).header("traceparent", format!("00-{other}-{BROWSER}-01"));
    assert!(ask.send().await.expect("the edge answers").status().is_client_error());
    let spans = collector.trace(other, &[("reply", 1)]).await;
    assert_eq!(one(&spans, "reply").get("frontdesk.outcome"), "\"refused\"");
}

/// A collector that is away, or takes everything and never answers: what waits for it is bounded, nobody waits for it,
/// and the process ends in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_collector_holds_up_nobody() {
    const CALLS: usize = 4_000;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let hung = format!("http://{}", silent.local_addr().expect("an address"));
    let away = {
        let gone = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        format!("http://{}", gone.local_addr().expect("an address"))
    };
    for (endpoint, is_away) in [(&hung, false), (&away, true)] {
        let settings = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "256"),
            ("TRACES_FLUSH_TIMEOUT", "1s"),
            ("LOG_LEVEL", "warn"),
        ];
        let mut desk = Desk::all_in_one(&settings).await;
        let visitor = desk.visitor().await;
        let ask = async |calls: usize| {
            for _ in 0..calls {
                visitor.get("/api/v1/session/validate").send().await.expect("the edge answers");
            }
        };
        // What is made once is there.
        ask(500).await;
        let before = resident(desk.edges[0].id());
        ask(CALLS).await;
        let grown = resident(desk.edges[0].id()).saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB more");
        let edge = &mut desk.edges[0];
        let dropped = edge.metric("frontdesk_telemetry_dropped_total").await;
        assert!(dropped > 1_000.0, "{dropped} dropped");
        assert_eq!(edge.metric("frontdesk_telemetry_sent_total").await, 0.0);
        let began = Instant::now();
        edge.signal("TERM");
        assert_eq!(edge.ended().await.code(), Some(0));
        let took = began.elapsed();
        // It has nothing else to finish; starting and ending threads takes its time on a busy machine.
        assert!(took < Duration::from_millis(2_500), "{took:?}");
        assert!(is_away || took >= Duration::from_millis(900), "it did wait for the collector: {took:?}");
        let log = edge.log();
        assert!(!is_away || log.contains("traces can't be sent"), "{log}");
    }
    drop(silent);
}

/// KiB of memory that a process has.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
