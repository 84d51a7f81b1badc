//! A new version, as operators bring it out: one process after the other, under load. See docs/deploy.md.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinSet;
use worker::demo::{Gate, Script};

use crate::{
    desk::{Desk, LIMIT, Process},
    visitor::{Event, Stream, Visitor, check_reply, text},
};

const VISITORS: usize = 24;

/// The edges as a balancer in front of them knows them.
#[derive(Clone)]
struct Doors(Arc<Mutex<Vec<String>>>);

impl Doors {
    fn all(&self) -> Vec<String> {
        self.0.lock().expect("nothing panics while holding it").clone()
    }

    fn replace(&self, at: usize, url: &str) {
        url.clone_into(&mut self.0.lock().expect("nothing panics while holding it")[at]);
    }
}

/// One visitor's message, over as many connections as it takes.
struct Talk {
    visitor: Visitor,
    doors: Doors,
    /// Which edge is tried first.
    first: usize,
    message_id: String,
    says: String,
}

impl Talk {
    /// The stream of the reply, or of the rest of it, from whichever edge gives one.
    async fn connect(&self, accepted: bool, last: Option<&str>) -> Stream {
        let until = Instant::now() + LIMIT;
        for turn in 0.. {
            assert!(Instant::now() < until, "no edge takes {}", self.message_id);
            let doors = self.doors.all();
            let edge = self.visitor.at(&doors[(self.first + turn) % doors.len()]);
            let request = if accepted {
                let path = format!("/api/v1/chat/stream/{}?message_id={}", edge.session, self.message_id);
                let request = edge.get(&path);
                if let Some(id) = last { request.header("last-event-id", id) } else { request }
            } else {
                edge.post("/api/v1/chat/message", &json!({"message": self.says, "message_id": self.message_id}))
            };
            match request.send().await {
                Ok(response) if response.status() == 200 => return Stream::of(response),
                // Draining: it says when to come back, and the other edge is there.
                Ok(response) => {
                    assert_eq!(response.status(), 503);
                    assert!(response.headers().contains_key("retry-after"));
                }
                // Gone: nobody listens there.
                Err(_) => {}
            }
        }
        unreachable!("the loop ends by itself")
    }

    /// The whole reply, and how often its stream moved. `begun` counts who has heard its first words.
    async fn listen(self, begun: Arc<AtomicUsize>, tab: bool) -> (Vec<Event>, usize) {
        let mut stream = self.connect(false, None).await;
        let mut events = stream.chunks(1).await;
        if tab {
            // As a tab that was reloaded: on the session's own stream.
            stream = self.connect(true, events.last().and_then(|event| event.id.as_deref())).await;
        }
        begun.fetch_add(1, Ordering::Relaxed);
        let mut moved = 0;
        while !events.last().is_some_and(|event| event.name == "end" || event.name == "failed") {
            match stream.next().await {
                Some(event) if event.name == "ready" => {}
                Some(event) => events.push(event),
                None => {
                    moved += 1;
                    let last = events.last().and_then(|event| event.id.clone());
                    stream = self.connect(true, last.as_deref()).await;
                }
            }
        }
        (events, moved)
    }
}

/// Visitors with running replies, half of which end when `soon` opens, the others when `late` does.
struct Load {
    soon: Gate,
    late: Gate,
    begun: Arc<AtomicUsize>,
    talks: JoinSet<(Vec<Event>, usize)>,
}

impl Load {
    async fn begin(desk: &Desk, doors: &Doors, visitors: &[Visitor], round: &str) -> Self {
        let mut load = Self { soon: Gate::new(), late: Gate::new(), begun: Arc::default(), talks: JoinSet::new() };
        let script = |gate| Script::lines().begin().items(["one ", "two "]).wait(gate).items(["three ", "four"]).end();
        desk.n8n.when(&format!("{round}-soon"), script(&load.soon)).when(&format!("{round}-late"), script(&load.late));
        for (number, visitor) in visitors.iter().enumerate() {
            let says = if number % 2 == 0 { format!("{round}-soon") } else { format!("{round}-late") };
            let message_id = format!("message-{round}");
            let (visitor, doors) = (visitor.clone(), doors.clone());
            let talk = Talk { visitor, doors, first: number / 2, message_id, says };
            load.talks.spawn(talk.listen(Arc::clone(&load.begun), number % 3 == 0));
        }
        let until = Instant::now() + LIMIT;
        while load.begun.load(Ordering::Relaxed) < visitors.len() {
            assert!(Instant::now() < until, "only {} replies run", load.begun.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        load
    }

    /// Every reply came whole, once and in order; how many streams moved.
    async fn all_is_well(self) -> usize {
        let mut moved = 0;
        for (events, moves) in self.talks.join_all().await {
            check_reply(&events, 0);
            assert_eq!(text(&events), "one two three four");
            assert_eq!(events.last().map(|event| event.name.as_str()), Some("end"));
            moved += moves;
        }
        moved
    }
}

async fn ready(process: &Process) {
    let until = Instant::now() + LIMIT;
    while !reqwest::get(format!("{}/health/ready", process.url)).await.is_ok_and(|answer| answer.status() == 200) {
        assert!(Instant::now() < until, "it does not get ready:\n{}", process.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Each edge and each worker is replaced while two dozen replies run: none fails, none loses a chunk, and n8n is called
/// once for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_is_not_noticed() {
    let mut desk = Desk::spread(2, 2, &[("DRAIN_TIMEOUT", "5s")]).await;
    let doors = Doors(Arc::new(Mutex::new(desk.edges.iter().map(|edge| edge.url.clone()).collect())));
    let mut visitors = Vec::new();
    for _ in 0..VISITORS {
        visitors.push(desk.visitor().await);
    }

    for at in 0..desk.edges.len() {
        let load = Load::begin(&desk, &doors, &visitors, &format!("edge-{at}")).await;
        desk.edges[at].signal("TERM");
        load.soon.open();
        assert_eq!(desk.edges[at].ended().await.code(), Some(0));
        let new = desk.launch(&["edge"]);
        ready(&new).await;
        doors.replace(at, &new.url);
        desk.edges[at] = new;
        load.late.open();
        assert!(load.all_is_well().await >= VISITORS / 4, "the streams of the old edge have moved");
    }
    for at in 0..desk.workers.len() {
        let load = Load::begin(&desk, &doors, &visitors, &format!("worker-{at}")).await;
        desk.workers[at].signal("TERM");
        load.soon.open();
        load.late.open();
        assert_eq!(desk.workers[at].ended().await.code(), Some(0));
        let new = desk.launch(&["worker"]);
        ready(&new).await;
        desk.workers[at] = new;
        load.all_is_well().await;
    }
    // What is said while a worker drains goes to the other one.
    let load = Load::begin(&desk, &doors, &visitors, "both").await;
    desk.workers[0].signal("TERM");
    let late = Visitor::begin(&doors.all()[0]).await;
    desk.n8n.when("meanwhile", Script::says(["here"]));
    assert_eq!(text(&late.hear("message-1", "meanwhile").await), "here");
    load.soon.open();
    load.late.open();
    load.all_is_well().await;
    let messages = VISITORS * (desk.edges.len() + desk.workers.len() + 1) + 1;
    assert_eq!(desk.n8n.asked(), messages as u64, "once for each message");
}

/// The script goes on only when what it has restarted is ready, and stops at what is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_waits_for_each() {
    let desk = Desk::spread(1, 0, &[]).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/rolling-restart.sh");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |urls: &[&str]| {
        let mut command = Command::new(&script);
        command.args(["--wait", "2"]).current_dir(folder.path());
        for (at, url) in urls.iter().enumerate() {
            command.args([&format!("touch restarted-{at}"), *url]);
        }
        let done = command.output().expect("the script can be run");
        let restarted = (0..urls.len()).filter(|at| folder.path().join(format!("restarted-{at}")).exists()).count();
        for at in 0..restarted {
            std::fs::remove_file(folder.path().join(format!("restarted-{at}"))).expect("it is there");
        }
        (done.status.code(), restarted)
    };
    let (there, nowhere) = (desk.edges[0].url.as_str(), "http://127.0.0.1:9");
    ready(&desk.edges[0]).await;
    assert_eq!(run(&[there, there]), (Some(0), 2));
    assert_eq!(run(&[there, nowhere, there]), (Some(1), 2), "the third is left alone");
    assert_eq!(run(&[]), (Some(2), 0));
}
