//! A deployment whose moments can be held: each process talks to NATS, and each worker to n8n, over a [`Wire`].

use std::time::{Duration, Instant};

use analytics::{Store, query::Range};
use async_nats::jetstream::{self, consumer::PullConsumer};
use bus::testing::NatsServer;
use protocol::Millis;
use worker::demo::{Gate, Script};

use crate::{
    cell::{BEFORE_GATE, Cell, Fault, Moment, Seen, Victim, WORDS},
    desk::{Desk, LIMIT, Process as Running, signal},
    shopper::Reply,
    wire::{At, Wire},
};

/// What a process says as the first thing after SIGTERM.
const STOPPING: &str = "stopping: finishing what runs";
/// How a process writes what it is held at.
const PULL: &str = "CONSUMER.MSG.NEXT.REQ";
const SUBMIT: &str = "HPUB chat.req.";
const CLAIM: &str = "HPUB chat.snap.";
const END: &str = r#""state":"end""#;
const ACK: &str = "+ACK";
const CALL: &str = "POST /";

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    Edge(usize),
    Worker(usize),
    Analytics,
    Nats,
}

/// A process and its way to NATS.
struct Player {
    wire: Wire,
    /// A worker's way to n8n.
    to_n8n: Option<Wire>,
    running: Option<Running>,
}

impl Player {
    async fn behind(nats: &str, n8n: Option<&str>) -> Self {
        let to_n8n = match n8n {
            Some(n8n) => Some(Wire::to(n8n.to_owned()).await),
            None => None,
        };
        Self { wire: Wire::to(nats.to_owned()).await, to_n8n, running: None }
    }
}

/// See the module.
pub(crate) struct Stage {
    desk: Desk,
    edges: Vec<Player>,
    workers: Vec<Player>,
    analytics: Player,
    gate: Gate,
    js: jetstream::Context,
    queue: PullConsumer,
    facts: PullConsumer,
}

impl Stage {
    pub(crate) async fn set(cell: Cell) -> Self {
        let desk = Desk::beside(NatsServer::start().await, false, &[]).await;
        let nats = desk.nats.as_ref().expect("it is there").url();
        let (nats_at, n8n_at) = (nats.trim_start_matches("nats://").to_owned(), n8n_address(&desk));
        let edges = vec![Player::behind(&nats_at, None).await, Player::behind(&nats_at, None).await];
        let n8n_at = Some(n8n_at.as_str());
        let workers = vec![Player::behind(&nats_at, n8n_at).await, Player::behind(&nats_at, n8n_at).await];
        let analytics = Player::behind(&nats_at, None).await;
        let js = jetstream::new(async_nats::connect(nats).await.expect("it is there"));
        let queue = js.get_consumer_from_stream("workers", "REQ").await.expect("it was set up");
        let facts = js.get_consumer_from_stream("recorder", "FACTS").await.expect("it was set up");
        let mut stage = Self { desk, edges, workers, analytics, gate: Gate::new(), js, queue, facts };
        let script = match cell.moment {
            Moment::BeforeChunk => Script::lines().hold(&stage.gate).begin().items(WORDS).end(),
            Moment::MidReply => {
                let (before, after) = WORDS.split_at(BEFORE_GATE);
                let script = Script::lines().begin().items(before.iter().copied()).wait(&stage.gate);
                script.items(after.iter().copied()).end()
            }
            _ => Script::says(WORDS),
        };
        stage.desk.n8n.when("first", script).when("second", Script::says(["more"]));
        stage.start([Process::Edge(0), Process::Edge(1), Process::Worker(0), Process::Analytics]);
        // Which of two workers the queue serves can't be told; here it is to be the one that is hit.
        if !stage.is_second_worker_late(cell) {
            stage.start([Process::Worker(1)]);
        }
        stage
    }

    fn is_second_worker_late(&self, cell: Cell) -> bool {
        cell.victim == Victim::Worker && cell.moment == Moment::BeforeAccept
    }

    fn player(&mut self, process: Process) -> &mut Player {
        match process {
            Process::Edge(at) => &mut self.edges[at],
            Process::Worker(at) => &mut self.workers[at],
            Process::Analytics => &mut self.analytics,
            Process::Nats => unreachable!("nats-server is no player"),
        }
    }

    fn running(&mut self, process: Process) -> &mut Running {
        self.player(process).running.as_mut().expect("it runs")
    }

    /// Starts processes, all at once.
    fn start<const N: usize>(&mut self, processes: [Process; N]) {
        let desk = &self.desk;
        let launch = |process: Process| {
            let (role, player) = match process {
                Process::Edge(at) => ("edge", &self.edges[at]),
                Process::Worker(at) => ("worker", &self.workers[at]),
                Process::Analytics => ("analytics", &self.analytics),
                Process::Nats => unreachable!("nats-server is no player"),
            };
            let nats = format!("nats://{}", player.wire.address());
            let n8n = player.to_n8n.as_ref().map(|wire| format!("http://{}/webhook/demo", wire.address()));
            let n8n = n8n.unwrap_or_else(|| desk.n8n.url().to_string());
            desk.launch_with(&[role], &[("NATS_URL", nats.as_str()), ("N8N_WEBHOOK_URL", n8n.as_str())])
        };
        // Starting waits for the process, which needs the wires, which need this runtime.
        let started = tokio::task::block_in_place(|| {
            std::thread::scope(|scope| {
                let threads = processes.map(|process| (process, scope.spawn(move || launch(process))));
                threads.map(|(process, thread)| (process, thread.join().expect("it starts")))
            })
        });
        for (process, running) in started {
            self.player(process).running = Some(running);
        }
    }

    pub(crate) fn edge_urls(&self) -> [String; 2] {
        [0, 1].map(|at| self.edges[at].running.as_ref().expect("it runs").url.clone())
    }

    /// The edges that still take requests.
    pub(crate) fn serving(&self) -> Vec<String> {
        self.edges.iter().filter_map(|edge| Some(edge.running.as_ref()?.url.clone())).collect()
    }

    pub(crate) fn asked(&self) -> u64 {
        self.desk.n8n.asked()
    }

    /// Sets the wires to stop at the cell's moment.
    pub(crate) async fn prepare(&mut self, cell: Cell) {
        // All that is asked of a worker or of analytics can come: their pulls are at the server.
        let workers = self.workers.iter().filter(|worker| worker.running.is_some()).count();
        if self.is_second_worker_late(cell) {
            // It lives for seconds only, and is not renewed by who is hit: a new one lasts.
            self.workers[0].wire.wait_for(PULL, At::Mark);
            self.workers[0].wire.met().await;
        }
        let patience = Patience::until("workers wait for messages");
        while self.queue_info().await.num_waiting != workers {
            patience.pause().await;
        }
        self.facts_are_stored("the session's start is stored").await;
        let at_workers = |words, at| self.workers.iter().for_each(|worker| worker.wire.wait_for(words, at));
        let at_n8n =
            |at| self.workers.iter().flat_map(|worker| &worker.to_n8n).for_each(|wire| wire.wait_for(CALL, at));
        match cell.moment {
            Moment::BeforeAccept => self.edges[0].wire.wait_for(SUBMIT, At::Hold),
            Moment::AfterAccept => {
                at_workers(CLAIM, At::Hold);
                if cell.victim == Victim::Edge {
                    self.edges[0].wire.wait_for(SUBMIT, At::HoldAnswers);
                }
            }
            Moment::BeforeN8n => at_n8n(At::Hold),
            Moment::BeforeChunk | Moment::MidReply => at_n8n(At::Mark),
            Moment::AtEnd => at_workers(END, At::HoldAnswers),
        }
    }

    /// Waits for the moment; says who is hit.
    pub(crate) async fn reach(&mut self, cell: Cell, reply: &Reply) -> Process {
        match cell.moment {
            Moment::BeforeAccept => self.edges[0].wire.met().await,
            Moment::AfterAccept => {
                if cell.victim == Victim::Edge {
                    self.edges[0].wire.met().await;
                }
                self.any_worker(|worker| &worker.wire).await;
            }
            Moment::BeforeN8n => self.any_worker(|worker| worker.to_n8n.as_ref().expect("it has one")).await,
            Moment::BeforeChunk => self.desk.n8n.asked_at_least(1).await,
            Moment::MidReply => reply.chunks(BEFORE_GATE).await,
            Moment::AtEnd => {
                self.any_worker(|worker| &worker.wire).await;
                self.end_is_recorded().await;
                reply.chunks(WORDS.len()).await;
                if cell.victim == Victim::Analytics {
                    self.facts_are_stored("the acceptance is stored").await;
                    self.analytics.wire.wait_for(ACK, At::Hold);
                    self.workers.iter().for_each(|worker| worker.wire.let_go());
                    self.analytics.wire.met().await;
                    reply.finished().await;
                }
            }
        }
        match cell.victim {
            Victim::Edge => Process::Edge(0),
            Victim::Analytics => Process::Analytics,
            Victim::Nats => Process::Nats,
            Victim::Worker => {
                let has_it =
                    |worker: &Player| worker.wire.has_met() || worker.to_n8n.as_ref().is_some_and(Wire::has_met);
                Process::Worker(self.workers.iter().position(has_it).unwrap_or(0))
            }
        }
    }

    async fn any_worker(&self, wire: impl Fn(&Player) -> &Wire) {
        tokio::select! {
            () = wire(&self.workers[0]).met() => {}
            () = wire(&self.workers[1]).met() => {}
        }
    }

    /// Hits the victim, waits until it is hit, and lets everything else go on.
    pub(crate) async fn hit(&mut self, cell: Cell, victim: Process) {
        match (victim, cell.fault) {
            (Process::Nats, Fault::Kill) => self.nats().kill().await,
            (Process::Nats, Fault::Term) => {
                signal(self.nats().id(), "TERM");
                self.nats().ended().await;
            }
            (Process::Nats, Fault::Freeze) => freeze(self.nats().id()).await,
            (_, Fault::Kill) => {
                self.running(victim).kill();
                let player = self.player(victim);
                player.running = None;
                player.wire.cut();
                player.to_n8n.iter().for_each(Wire::cut);
            }
            (_, Fault::Term) => {
                let running = self.running(victim);
                running.signal("TERM");
                let patience = Patience::until("it hears SIGTERM");
                while !running.log().contains(STOPPING) {
                    patience.pause().await;
                }
            }
            (_, Fault::Freeze) => freeze(self.running(victim).id()).await,
        }
        let stays_held = (cell.fault == Fault::Freeze).then_some(victim);
        self.let_go_of_others(stays_held);
        self.gate.open();
        match (victim, cell.fault) {
            (Process::Nats, Fault::Kill | Fault::Term) => self.nats().restart(true).await,
            (Process::Worker(_), _) if self.is_second_worker_late(cell) => {
                if cell.fault == Fault::Freeze {
                    let patience = Patience::until("the frozen worker is given the message");
                    while self.queue_info().await.num_ack_pending != 1 {
                        patience.pause().await;
                    }
                }
                self.start([Process::Worker(1)]);
            }
            _ => {}
        }
    }

    /// Lets go of all that is held but what this process itself has not sent.
    fn let_go_of_others(&self, victim: Option<Process>) {
        let of = |process: Process, player: &Player| {
            if victim != Some(process) {
                player.wire.let_go();
            }
            player.to_n8n.iter().for_each(Wire::let_go);
        };
        self.edges.iter().enumerate().for_each(|(at, edge)| of(Process::Edge(at), edge));
        self.workers.iter().enumerate().for_each(|(at, worker)| of(Process::Worker(at), worker));
        of(Process::Analytics, &self.analytics);
    }

    /// Ends a freeze.
    pub(crate) fn thaw(&mut self, victim: Process) {
        let id = if victim == Process::Nats { self.nats().id() } else { self.running(victim).id() };
        signal(id, "CONT");
        self.let_go_of_others(None);
    }

    /// What an operator's set-up does in the end: a process that stopped must have done so well, and analytics is started
    /// again on its file.
    pub(crate) async fn restore(&mut self, cell: Cell, victim: Process) {
        if cell.fault == Fault::Term && victim != Process::Nats {
            let mut running = self.player(victim).running.take().expect("it was only told to stop");
            let status = running.ended().await;
            assert_eq!(status.code(), Some(0), "{}", running.log());
        }
        if victim == Process::Analytics && cell.fault != Fault::Freeze {
            self.start([Process::Analytics]);
        }
    }

    /// Ends everything in the direction of the flow, each process by itself, and looks at what analytics has stored.
    pub(crate) async fn settle(&mut self, seen: Seen) {
        for process in [Process::Edge(0), Process::Edge(1), Process::Worker(0), Process::Worker(1)] {
            if let Some(running) = &self.player(process).running {
                running.signal("TERM");
            }
        }
        for process in [Process::Edge(0), Process::Edge(1), Process::Worker(0), Process::Worker(1)] {
            self.end(process).await;
        }
        self.facts_are_stored("all facts are stored").await;
        self.running(Process::Analytics).signal("TERM");
        self.end(Process::Analytics).await;
        let queue = self.js.get_stream("REQ").await.expect("NATS answers");
        assert_eq!(queue.cached_info().state.messages, 0, "the queue is empty");
        let ever = Range { from: Millis(0), until: Millis::now().after(LIMIT) };
        let store = Store::open(std::path::Path::new(self.desk.database()));
        let totals = store.and_then(|store| store.summary(None, ever)).expect("it can be read");
        let failed: u64 = totals.failed.values().sum();
        let expected = if seen == Seen::Whole { (1, 2, 2, 0) } else { (1, 2, 1, 1) };
        assert_eq!(
            (totals.sessions, totals.messages, totals.ended, failed),
            expected,
            "sessions, messages, ends, failures: {totals:?}"
        );
    }

    async fn end(&mut self, process: Process) {
        if let Some(mut running) = self.player(process).running.take() {
            let status = running.ended().await;
            assert_eq!(status.code(), Some(0), "{process:?}: {}", running.log());
        }
    }

    fn nats(&mut self) -> &mut NatsServer {
        self.desk.nats.as_mut().expect("it is there")
    }

    /// What the queue says of its workers, once NATS answers.
    async fn queue_info(&mut self) -> jetstream::consumer::Info {
        let patience = Patience::until("NATS answers");
        loop {
            if let Ok(info) = self.queue.info().await {
                return info.clone();
            }
            patience.pause().await;
        }
    }

    async fn end_is_recorded(&self) {
        let records = self.js.get_stream("SNAP").await.expect("it was set up");
        let patience = Patience::until("the record holds the end");
        let holds_end = |payload: &[u8]| payload.windows(END.len()).any(|window| window == END.as_bytes());
        while !records.get_last_raw_message_by_subject("chat.snap.*").await.is_ok_and(|m| holds_end(&m.payload)) {
            patience.pause().await;
        }
    }

    /// Analytics has acknowledged every fact.
    async fn facts_are_stored(&mut self, what: &'static str) {
        let patience = Patience::until(what);
        while !self.facts.info().await.is_ok_and(|info| (info.num_pending, info.num_ack_pending) == (0, 0)) {
            patience.pause().await;
        }
    }
}

/// Looks again and again, but not for ever.
struct Patience {
    what: &'static str,
    until: Instant,
}

impl Patience {
    fn until(what: &'static str) -> Self {
        Self { what, until: Instant::now() + LIMIT }
    }

    async fn pause(&self) {
        assert!(Instant::now() < self.until, "not in {LIMIT:?}: {}", self.what);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn n8n_address(desk: &Desk) -> String {
    let url = desk.n8n.url();
    format!("{}:{}", url.host_str().expect("it has one"), url.port().expect("it has one"))
}

/// SIGSTOP, and waits until the process stands still.
async fn freeze(id: u32) {
    signal(id, "STOP");
    let patience = Patience::until("it stands still");
    let is_still = || {
        let status = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it is there");
        status.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    while !is_still() {
        patience.pause().await;
    }
}
