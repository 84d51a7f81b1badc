//! A visitor with two edges to choose from, who does as the widget does: the same message under the same id, again and
//! at the other edge, from the last event that came, until there is an end.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    stage::Stage,
    visitor::{Event, Stream, Visitor},
};

/// The pauses between tries: each is twice the one before it.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// More tries than a visitor has patience for.
const TRIES: u32 = 40;

/// See the module.
pub(crate) struct Shopper {
    visitor: Visitor,
    edges: [String; 2],
    tasks: TaskTracker,
}

/// What the visitor was told of one message, over all connections.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    /// The status of each refusal; 0 is an edge that could not be reached.
    pub(crate) refused: Vec<u16>,
    pub(crate) ended_at: Instant,
}

/// A reply that comes in.
pub(crate) struct Reply(watch::Receiver<(Told, bool)>);

impl Reply {
    /// Waits for so many chunks.
    pub(crate) async fn chunks(&self, count: usize) {
        let has = |told: &Told| told.events.iter().filter(|event| event.name == "chunk").count() >= count;
        self.0.clone().wait_for(|(told, _)| has(told)).await.expect("the visitor goes on");
    }

    /// Everything, once there is an end.
    pub(crate) async fn finished(&self) -> Told {
        self.0.clone().wait_for(|(_, over)| *over).await.expect("the visitor goes on").0.clone()
    }
}

impl Shopper {
    /// A session, at the first edge.
    pub(crate) async fn enter(stage: &Stage) -> Self {
        let edges = stage.edge_urls();
        Self { visitor: Visitor::begin(&edges[0]).await, edges, tasks: TaskTracker::new() }
    }

    /// Says something, first at the first edge.
    pub(crate) fn ask(&mut self, id: &'static str, words: &'static str) -> Reply {
        let told = Told { events: vec![], refused: vec![], ended_at: Instant::now() };
        let (out, reply) = watch::channel((told, false));
        let at = self.edges.clone().map(|edge| self.visitor.at(&edge));
        self.tasks.spawn(insist(at, id, words, out));
        Reply(reply)
    }

    /// The whole reply once more, from its beginning.
    pub(crate) async fn hear_again(&self, edge: &str, id: &str) -> Vec<Event> {
        self.visitor.at(edge).hear(id, "the first one").await
    }
}

async fn insist(at: [Visitor; 2], id: &'static str, words: &'static str, told: watch::Sender<(Told, bool)>) {
    let (mut edges, mut pause) = (at.iter().cycle(), FIRST_PAUSE);
    for _ in 0..TRIES {
        let edge = edges.next().expect("there are two");
        let mut request = edge.post("/api/v1/chat/message", &json!({"message": words, "message_id": id}));
        let last = told.borrow().0.events.iter().rev().find_map(|event| event.id.clone());
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        match request.send().await {
            Ok(response) if response.status() == 200 => {
                let mut stream = Stream::of(response);
                // To the end of the stream: what came after an end would be a broken promise.
                while let Some(event) = stream.next().await {
                    pause = FIRST_PAUSE;
                    told.send_modify(|(told, _)| {
                        told.events.push(event);
                        told.ended_at = Instant::now();
                    });
                }
                let over = told.borrow().0.events.last().is_some_and(|e| e.name == "end" || e.name == "failed");
                if over {
                    told.send_modify(|(_, is_over)| *is_over = true);
                    return;
                }
            }
            Ok(response) => told.send_modify(|(told, _)| told.refused.push(response.status().as_u16())),
            Err(_) => told.send_modify(|(told, _)| told.refused.push(0)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
