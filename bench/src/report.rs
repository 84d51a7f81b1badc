//! What a run found, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    measure::{Cpu, Failures, Round},
    samples::Samples,
};

/// All of one target.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) rounds: Vec<Round>,
    pub(crate) footprint: Round,
    pub(crate) failures: Failures,
}

struct Row {
    key: &'static str,
    label: &'static str,
    digits: usize,
    /// Whether beside nginx means something.
    ratio: bool,
    /// From what was seen of the target, and of the direct call when it is another.
    value: fn(&Round, Option<&Round>) -> Option<f64>,
}

const fn row(
    key: &'static str,
    label: &'static str,
    digits: usize,
    value: fn(&Round, Option<&Round>) -> Option<f64>,
) -> Row {
    Row { key, label, digits, ratio: true, value }
}

const fn plain(
    key: &'static str,
    label: &'static str,
    digits: usize,
    value: fn(&Round, Option<&Round>) -> Option<f64>,
) -> Row {
    Row { key, label, digits, ratio: false, value }
}

const ROWS: &[Row] = &[
    plain("first_p50_ms", "first chunk p50, ms", 3, |seen, _| seen.first.quantile(0.5)),
    row("first_added_p50_ms", "… added p50, ms", 3, |seen, direct| added(&seen.first, &direct?.first, 0.5)),
    row("first_added_p90_ms", "… added p90, ms", 3, |seen, direct| added(&seen.first, &direct?.first, 0.9)),
    row("first_added_p99_ms", "… added p99, ms", 3, |seen, direct| added(&seen.first, &direct?.first, 0.99)),
    plain("first_cold_added_p50_ms", "… first of a session, added p50, ms", 3, |seen, direct| {
        added(&seen.cold, &direct?.first, 0.5)
    }),
    plain("ask_p50_ms", "… until upstream answers p50, ms", 3, |seen, _| seen.ask.quantile(0.5)),
    plain("back_p50_ms", "… and back p50, ms", 3, |seen, _| seen.back.quantile(0.5)),
    plain("create_p50_ms", "session create p50, ms", 3, |seen, _| {
        seen.create.quantile(0.5).filter(|&create| create > CREATED)
    }),
    plain("low_p50_ms", "chunk delay, low load p50, ms", 3, |seen, _| seen.low.quantile(0.5)),
    row("low_added_p50_ms", "… added p50, ms", 3, |seen, direct| added(&seen.low, &direct?.low, 0.5)),
    row("low_p99_ms", "… p99, ms", 3, |seen, _| seen.low.quantile(0.99)),
    plain("high_p50_ms", "chunk delay, load p50, ms", 3, |seen, _| seen.high.quantile(0.5)),
    row("high_added_p50_ms", "… added p50, ms", 3, |seen, direct| added(&seen.high, &direct?.high, 0.5)),
    row("high_p99_ms", "… p99, ms", 3, |seen, _| seen.high.quantile(0.99)),
    row("low_chunk_cpu_s", "CPU per million chunks, low load, s", 1, |seen, _| cpu(seen.low_cpu, 1e6)),
    row("low_chunk_cpu_nats_s", "… with nats-server, s", 1, |seen, _| cpu_with_nats(seen.low_cpu, 1e6)),
    row("chunk_cpu_s", "CPU per million chunks, load, s", 1, |seen, _| cpu(seen.high_cpu, 1e6)),
    row("chunk_cpu_nats_s", "… with nats-server, s", 1, |seen, _| cpu_with_nats(seen.high_cpu, 1e6)),
    row("message_cpu_us", "CPU per short message, µs", 0, |seen, _| cpu(seen.short_cpu, 1e6)),
    row("message_cpu_nats_us", "… with nats-server, µs", 0, |seen, _| cpu_with_nats(seen.short_cpu, 1e6)),
    row("idle_connection_kb", "idle stream, KB", 1, |seen, _| Some(seen.footprint?.connection? / 1e3)),
    plain("idle_connection_nats_kb", "… in nats-server, KB", 1, |seen, _| {
        Some(seen.footprint?.nats_connection? / 1e3)
    }),
    plain("memory_mb", "resident when fresh, MB", 1, |seen, _| Some(seen.footprint?.memory as f64 / 1e6)),
    plain("start_ms", "start to listening, ms", 0, |seen, _| Some(seen.footprint?.start?.as_secs_f64() * 1e3)),
    plain("others_percent", "CPU taken by others meanwhile, %", 0, |seen, _| {
        let (others, all) = seen.others;
        (!all.is_zero()).then(|| 100.0 * others.as_secs_f64() / all.as_secs_f64())
    }),
];

/// Below this no session was created: the target has none.
const CREATED: f64 = 0.01;

fn added(seen: &Samples, direct: &Samples, share: f64) -> Option<f64> {
    Some(seen.quantile(share)? - direct.quantile(share)?)
}

fn cpu(cpu: Cpu, each: f64) -> Option<f64> {
    (cpu.of > 0 && !cpu.own.is_zero()).then(|| cpu.own.as_secs_f64() * each / cpu.of as f64)
}

fn cpu_with_nats(of: Cpu, each: f64) -> Option<f64> {
    cpu(Cpu { own: of.own + of.nats?, ..of }, each)
}

/// One number and how it varied from round to round.
struct Figure {
    value: f64,
    rounds: Vec<f64>,
}

/// A run.
pub(crate) struct Report {
    outcomes: Vec<Outcome>,
}

impl Report {
    pub(crate) fn new(outcomes: Vec<Outcome>) -> Self {
        Self { outcomes }
    }

    pub(crate) fn failures(&self) -> usize {
        self.outcomes.iter().map(|outcome| outcome.failures.count).sum()
    }

    /// Markdown. A cell is the value over all rounds, how it varied from round to round, and its ratio to nginx.
    pub(crate) fn table(&self) -> String {
        let names: Vec<&str> = self.outcomes.iter().map(|outcome| outcome.name).collect();
        let mut lines = vec![[&["measure"], names.as_slice()].concat().join(" | ")];
        lines.push(vec!["---"; names.len() + 1].join(" | "));
        for row in ROWS {
            let figures: Vec<_> = self.outcomes.iter().map(|outcome| self.figure(row, outcome)).collect();
            // A row of nothing says nothing.
            if figures.iter().all(Option::is_none) {
                continue;
            }
            let yardstick = names.iter().position(|&name| name == "nginx").and_then(|nginx| figures[nginx].as_ref());
            let mut cells = vec![row.label.to_owned()];
            for (figure, name) in figures.iter().zip(&names) {
                cells.push(figure.as_ref().map_or_else(String::new, |figure| cell(row, figure, name, yardstick)));
            }
            lines.push(cells.join(" | "));
        }
        let failures: Vec<String> = self.outcomes.iter().map(|outcome| outcome.failures.count.to_string()).collect();
        lines.push(format!("errors | {}", failures.join(" | ")));
        let mut table: String = lines.iter().map(|line| format!("| {line} |\n")).collect();
        for outcome in &self.outcomes {
            for failure in &outcome.failures.first {
                // Writing to a string can't fail.
                let _ = writeln!(table, "\n{}: {failure}", outcome.name);
            }
        }
        table
    }

    pub(crate) fn json(&self) -> Value {
        let mut targets = Map::new();
        for outcome in &self.outcomes {
            let mut figures = Map::new();
            for row in ROWS {
                if let Some(figure) = self.figure(row, outcome) {
                    figures.insert(row.key.to_owned(), json!({ "value": figure.value, "rounds": figure.rounds }));
                }
            }
            let failures = json!({ "count": outcome.failures.count, "first": outcome.failures.first });
            targets.insert(outcome.name.to_owned(), json!({ "figures": figures, "errors": failures }));
        }
        json!({ "cores": std::thread::available_parallelism().map_or(0, usize::from), "targets": targets })
    }

    fn figure(&self, row: &Row, outcome: &Outcome) -> Option<Figure> {
        // The direct call is compared with nothing.
        let direct = self.outcomes.iter().find(|other| other.name == "direct" && other.name != outcome.name);
        let value = (row.value)(&whole(outcome), direct.map(whole).as_ref())?;
        let rounds = outcome.rounds.iter().enumerate();
        let rounds = rounds.filter_map(|(n, seen)| (row.value)(seen, direct.and_then(|direct| direct.rounds.get(n))));
        Some(Figure { value, rounds: rounds.collect() })
    }
}

fn whole(outcome: &Outcome) -> Round {
    let mut whole = outcome.footprint.clone();
    outcome.rounds.iter().for_each(|round| whole.add(round));
    whole
}

fn cell(row: &Row, figure: &Figure, name: &str, nginx: Option<&Figure>) -> String {
    let digits = row.digits;
    let mut cell = format!("{:.digits$}", figure.value);
    if figure.rounds.len() > 1 {
        let lowest = figure.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = figure.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let _ = write!(cell, " ({lowest:.digits$}–{highest:.digits$})");
    }
    if let Some(nginx) = nginx
        && row.ratio
        && !["direct", "nginx"].contains(&name)
        && nginx.value > 0.0
    {
        let _ = write!(cell, " **{:.1}×**", figure.value / nginx.value);
    }
    cell
}
