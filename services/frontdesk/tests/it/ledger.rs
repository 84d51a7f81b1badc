//! What visitors, workflows and foreigners did, in a ledger of their own, against what analytics says of it: the same, to
//! the last one, whatever happens to analytics meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_nats::jetstream::{Context, consumer::PullConsumer};
use bus::Config;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::demo::{Demo, Script};

use crate::{
    desk::{Desk, LIMIT},
    visitor::{Event, Visitor, check_reply},
};

const ADMIN_TOKEN: &str = "Hs7vLk2pQz9sVt4xCw6nBy1mRd3fGj8a";

/// What was done on a site, in the words of analytics' summary.
#[derive(Clone, Debug, Default)]
struct Ledger {
    sessions: u64,
    messages: u64,
    ended: u64,
    cancelled: u64,
    failed: BTreeMap<String, u64>,
    pushed: u64,
    rated_up: u64,
    rated_down: u64,
    refused: BTreeMap<String, u64>,
}

impl Ledger {
    /// Of several sites, all together.
    fn add(mut self, other: &Self) -> Self {
        self.sessions += other.sessions;
        self.messages += other.messages;
        self.ended += other.ended;
        self.cancelled += other.cancelled;
        self.pushed += other.pushed;
        self.rated_up += other.rated_up;
        self.rated_down += other.rated_down;
        for (to, from) in [(&mut self.failed, &other.failed), (&mut self.refused, &other.refused)] {
            from.iter().for_each(|(word, count)| *to.entry(word.clone()).or_default() += count);
        }
        self
    }

    fn json(&self) -> Value {
        json!({
            "sessions": self.sessions,
            "messages": self.messages,
            "ended": self.ended,
            "cancelled": self.cancelled,
            "failed": self.failed,
            "pushed": self.pushed,
            "rated_up": self.rated_up,
            "rated_down": self.rated_down,
            "refused": self.refused,
        })
    }

    /// The same members of a summary.
    fn of(summary: &Value) -> Value {
        let own = Self::default().json();
        own.as_object().expect("an object").keys().map(|name| (name.clone(), summary[name].clone())).collect()
    }
}

/// Everybody's ledgers, by site.
#[derive(Clone, Default)]
struct Books(Arc<Mutex<BTreeMap<&'static str, Ledger>>>);

impl Books {
    fn note(&self, site: &'static str, what: impl FnOnce(&mut Ledger)) {
        what(self.0.lock().expect("nobody panics with it").entry(site).or_default());
    }

    fn messages(&self) -> u64 {
        self.0.lock().expect("nobody panics with it").values().map(|ledger| ledger.messages).sum()
    }

    fn all(&self) -> BTreeMap<&'static str, Ledger> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

/// A visitor, and the workflow behind their messages.
struct Party {
    visitor: Visitor,
    site: &'static str,
    books: Books,
    n8n: Arc<Demo>,
    http: Client,
}

impl Party {
    async fn begin(desk: &Desk, edge: usize, site: &'static str, books: &Books) -> Self {
        let visitor = Visitor::begin_at(&desk.edges[edge].url, site).await;
        books.note(site, |ledger| ledger.sessions += 1);
        let http = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
        Self { visitor, site, books: books.clone(), n8n: Arc::clone(&desk.n8n), http }
    }

    fn note(&self, what: impl FnOnce(&mut Ledger)) {
        self.books.note(self.site, what);
    }

    /// Notes how a reply ended.
    fn over(&self, events: &[Event]) {
        check_reply(events, 0);
        let last = events.last().expect("it ends");
        let text = |name: &str| last.data[name].as_str().unwrap_or_default().to_owned();
        self.note(|ledger| match (last.name.as_str(), text("finish_reason").as_str()) {
            ("end", "stop") => ledger.ended += 1,
            ("end", _) => ledger.cancelled += 1,
            _ => *ledger.failed.entry(text("code")).or_default() += 1,
        });
    }

    /// Says something; whether it was taken.
    async fn says(&self, id: &str, text: &str) -> bool {
        let reply = self.visitor.say(id, text).await;
        if reply.status == 429 {
            self.note(|ledger| *ledger.refused.entry("limit_session_minute".into()).or_default() += 1);
            return false;
        }
        self.note(|ledger| ledger.messages += 1);
        self.over(&reply.rest().await);
        true
    }

    async fn changes_their_mind(&self, id: &str) {
        let mut reply = self.visitor.say(id, "hold").await;
        self.note(|ledger| ledger.messages += 1);
        let mut events = reply.chunks(1).await;
        self.visitor.cancel(id).await;
        events.extend(reply.rest().await);
        self.over(&events);
    }

    async fn rates(&self, id: &str, rating: &str) {
        let body = json!({"message_id": id, "rating": rating});
        let rated = self.visitor.post("/api/v1/chat/feedback", &body).send().await.expect("the edge answers");
        assert_eq!(rated.status(), 202);
    }

    /// The workflow of a message says one thing more, and says it twice.
    async fn pushes(&self, id: &str) {
        let asked = self.n8n.requests().into_iter().rev().map(|seen| seen.json());
        let of = |body: &Value| body["message_id"] == id && body["sessionId"] == self.visitor.session;
        let body = asked.into_iter().find(of).expect("n8n was asked");
        let url = body["reply_url"].as_str().expect("there is one");
        for _ in 0..2 {
            let push = self.http.post(url).header("idempotency-key", "parcel").json(&json!({"content": "It left."}));
            let pushed: Value = push.send().await.expect("the edge answers").json().await.expect("JSON");
            assert_eq!(pushed["kind"], "push", "{pushed}");
            if pushed["duplicate"] == false {
                self.note(|ledger| ledger.pushed += 1);
            }
        }
    }

    /// Tries something that is refused.
    async fn is_refused(&self, request: reqwest::RequestBuilder, site: &'static str, status: u16, reason: &str) {
        assert_eq!(request.send().await.expect("the edge answers").status(), status, "{reason}");
        self.books.note(site, |ledger| *ledger.refused.entry(reason.to_owned()).or_default() += 1);
    }

    /// Does all there is to do, again and again, until it is told to stop.
    async fn goes_on(self, stop: CancellationToken) -> Self {
        for round in 0.. {
            let id = |n: u32| format!("message-{round}-{n}");
            self.says(&id(1), "hello").await;
            self.rates(&id(1), "up").await;
            self.says(&id(2), "broken").await;
            // The later word counts.
            self.rates(&id(1), "down").await;
            self.note(|ledger| ledger.rated_down += 1);
            self.changes_their_mind(&id(3)).await;
            self.says(&id(4), "cut").await;
            self.pushes(&id(1)).await;
            self.says(&id(5), "hello").await;
            self.rates(&id(5), "up").await;
            self.note(|ledger| ledger.rated_up += 1);
            // A repeat is no second message.
            check_reply(&self.visitor.hear(&id(5), "hello").await, 0);
            let nothing = self.visitor.post("/api/v1/chat/message", &json!({"message": " "}));
            self.is_refused(nothing, self.site, 400, "invalid").await;
            // Of whom nothing is known, not even the site.
            let stranger = self.visitor.get_plain("/api/v1/session/validate");
            self.is_refused(stranger, "default", 401, "token").await;
            if stop.is_cancelled() {
                return self;
            }
        }
        self
    }
}

/// Waits until analytics has acknowledged all that NATS has.
async fn acknowledged(jetstream: &Context) {
    let began = Instant::now();
    loop {
        let recorder: PullConsumer =
            jetstream.get_consumer_from_stream("recorder", "FACTS").await.expect("it is there");
        let info = recorder.cached_info();
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return;
        }
        assert!(began.elapsed() < LIMIT, "facts are left: {info:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The summary of a site, or of all, by the API; null where nobody answers.
async fn told(desk: &Desk, site: Option<&str>) -> Value {
    let http = Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
    let url = format!("{}/api/v1/analytics/summary?range=24h", desk.analytics.as_ref().expect("it runs").url);
    let url = site.map_or(url.clone(), |site| format!("{url}&site={site}"));
    match http.get(url).bearer_auth(ADMIN_TOKEN).send().await {
        Ok(answer) => answer.json().await.map_or(Value::Null, |summary| Ledger::of(&summary)),
        Err(_) => Value::Null,
    }
}

/// Analytics says what the books say, of each site and of all. Refusals are told now and then, so it is asked again.
async fn agrees(desk: &Desk, books: &BTreeMap<&'static str, Ledger>) {
    let sum = books.values().fold(Ledger::default(), Ledger::add);
    for (site, ledger) in books.iter().map(|(site, ledger)| (Some(*site), ledger)).chain([(None, &sum)]) {
        let (began, ledger) = (Instant::now(), ledger.json());
        while told(desk, site).await != ledger && began.elapsed() < LIMIT / 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(told(desk, site).await, ledger, "{site:?}");
    }
}

/// Two edges, a worker and analytics under a load of everything there is, analytics killed again and again, and at the
/// end every fact delivered a second time: the counts are those of the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analytics_says_what_the_ledger_says() {
    let files = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, sites: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, sites).expect("the folder is ours");
        path.display().to_string()
    };
    let of_edges = file("edges.json", r#"[{"id":"shoes"},{"id":"strict","messages_per_minute":2}]"#);
    let of_workers = file("workers.json", r#"[{"id":"shoes"},{"id":"strict"}]"#);
    let settings = [
        ("SITES_FILE", of_edges.as_str()),
        ("N8N_SITES_FILE", &of_workers),
        ("ADMIN_TOKEN", ADMIN_TOKEN),
        ("BREAKER_FAILURE_RATE", "0"),
        ("BOT_RULES", "shadow"),
    ];
    let mut desk = Desk::spread(2, 1, &settings).await;
    desk.n8n.when("hello", Script::says(["one ", "two"]));
    desk.n8n.when("broken", Script::of(500, "application/json").bytes(r#"{"message":"broken"}"#));
    desk.n8n.when("hold", Script::lines().begin().items(["one"]).hang());
    desk.n8n.when("cut", Script::lines().begin().items(["one"]).cut());

    let (books, stop, mut load) = (Books::default(), CancellationToken::new(), JoinSet::new());
    for n in 0..4 {
        let party = Party::begin(&desk, n % 2, ["default", "shoes"][n / 2], &books).await;
        load.spawn(party.goes_on(stop.clone()));
    }
    for round in 0..10_u64 {
        // Not after the same number each time, so that the kill meets another moment. For a while there is none.
        for pause in [3 + round * 7 % 11, round * 5 % 4] {
            let goal = books.messages() + pause;
            while books.messages() < goal {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            match desk.analytics.take() {
                Some(mut analytics) => analytics.kill(),
                None => desk.analytics = Some(desk.launch(&["analytics"])),
            }
        }
    }
    stop.cancel();
    let parties = load.join_all().await;
    for edge in [0, 1] {
        let party = Party::begin(&desk, edge, "strict", &books).await;
        let mut taken = 0;
        for n in 0..6 {
            taken += u32::from(party.says(&format!("message-{n}"), "hello").await);
        }
        assert!((2..6).contains(&taken), "{taken}");
    }

    // An edge that stops tells at once what it has not told yet.
    let mut stops = desk.edges.pop().expect("there are two");
    let stranger = parties[0].visitor.at(&stops.url);
    parties[0].is_refused(stranger.get_plain("/api/v1/session/validate"), "default", 401, "token").await;
    stops.signal("TERM");
    assert_eq!(stops.ended().await.code(), Some(0));

    let (books, jetstream) = (books.all(), desk.jetstream().await);
    assert!(
        books["default"].failed.len() > 1 && books["default"].cancelled > 5 && books["shoes"].pushed > 5,
        "{books:?}"
    );
    agrees(&desk, &books).await;
    acknowledged(&jetstream).await;
    // What a session did counts after its end. Not earlier: of one that is gone nobody knows any more which rating the
    // later one, if that is delivered again, takes the place of.
    let visitor = parties[0].visitor.at(&desk.edges[0].url);
    let over = visitor.delete("/api/v1/session").send().await.expect("the edge answers");
    assert_eq!(over.status(), 204);
    acknowledged(&jetstream).await;
    agrees(&desk, &books).await;
    for process in desk.edges.iter().chain(&desk.workers) {
        assert_eq!(process.metric("frontdesk_bus_facts_dropped_total").await, 0.0);
    }

    // A consumer that is made anew begins at the first fact, as when NATS gets an older copy of its disk.
    let mut analytics = desk.analytics.take().expect("it runs");
    analytics.kill();
    let mut stream = jetstream.get_stream("FACTS").await.expect("it was set up");
    let facts = stream.info().await.expect("NATS is there").state.messages;
    stream.delete_consumer("recorder").await.expect("it was there");
    desk.nats.as_ref().expect("it is spread out").set_up(&Config::default()).await;
    desk.analytics = Some(desk.launch(&["analytics"]));
    acknowledged(&jetstream).await;
    agrees(&desk, &books).await;
    let analytics = desk.analytics.as_ref().expect("it runs");
    let metrics = analytics.metrics().await;
    let repeated = metrics.lines().filter(|line| line.contains(r#"outcome="repeated""#));
    let repeated: u64 = repeated.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(repeated, facts, "each came again");
}
