//! Measures what Frontdesk adds to a call of n8n, beside nginx and a direct call in the same run.
//!
//! - `upstream`: a scripted n8n in a process of its own.
//! - `targets`: what is measured, and how it is started; `process`: what it costs; `sink`: where traces go.
//! - `visitor`: asks and reads, strictly; `http`: on what; `clock`: by which time.
//! - `measure`: the measurements; `samples`, `report`: what came out.
//!
//! And whether it holds:
//!
//! - `chaos`: processes are struck down under load; `soak`: nothing is, for long; `streams`: what open ones take.
//! - `fleet`: the deployment; `regular`: a visitor who comes through; `dice`: chance.
//! - `ledger`: what became of each message, and whether it may.

mod chaos;
mod clock;
mod dice;
mod fleet;
mod http;
mod ledger;
mod measure;
mod process;
mod regular;
mod report;
mod samples;
mod sink;
mod soak;
mod streams;
mod targets;
mod upstream;
mod visitor;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use clock::Stop;
use measure::{Bench, Failures, Plan, Round, start_often};
use report::{Outcome, Report};
use targets::{Kind, Target, Upstream};

/// Measures Frontdesk beside a direct call and nginx.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// The executable to measure.
    #[arg(long, value_name = "FILE")]
    frontdesk: Option<PathBuf>,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "direct,nginx,all-in-one,nats")]
    targets: Vec<Kind>,
    /// How often everything is measured, target after target.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    plan: Plan,
    /// Open streams on which nothing happens, for the memory of each; 0 leaves it out.
    #[arg(long, default_value_t = 2000)]
    idle: usize,
    /// Give up after this long.
    #[arg(long, default_value = "15m", value_parser = humantime::parse_duration)]
    time_limit: Duration,
    /// Write the figures, round by round, to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Only the scripted n8n; ends with its standard input.
    Upstream,
    /// Strikes down processes at random under load, and reads the books afterwards.
    Chaos(chaos::Chaos),
    /// Keeps a deployment busy for long, and fits a line through the memory of each process.
    Soak(soak::Soak),
    /// Measures the memory of open streams at one edge.
    Streams(streams::Streams),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    allow_many_files();
    let done = match cli.command {
        Some(Command::Upstream) => upstream::serve().map(|()| true).map_err(Into::into),
        Some(Command::Chaos(chaos)) => chaos::run(&chaos),
        Some(Command::Soak(soak)) => soak::run(&soak),
        Some(Command::Streams(streams)) => streams::run(&streams),
        None => run(cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says whether all replies came whole.
fn run(cli: Cli) -> anyhow::Result<bool> {
    let stop = Stop::listen(cli.time_limit)?;
    let mut kinds = cli.targets;
    if kinds.contains(&Kind::Nginx) && !installed("nginx") {
        tell("nginx is not installed: measuring without the yardstick");
        kinds.retain(|&kind| kind != Kind::Nginx);
    }
    if cli.frontdesk.is_none() && kinds.iter().any(|kind| kind.needs_frontdesk()) {
        tell("no --frontdesk: measuring without it");
        kinds.retain(|kind| !kind.needs_frontdesk());
    }
    let upstream = Upstream::start()?;
    let start = |kind| Target::start(kind, cli.frontdesk.as_deref(), &upstream, &stop);
    let mut outcomes: Vec<Outcome> = kinds.iter().map(|&kind| Outcome::new(kind)).collect();

    // Alone and fresh: memory that a load has left behind would hide what a connection takes.
    for (kind, outcome) in kinds.iter().copied().zip(&mut outcomes).filter(|(kind, _)| *kind != Kind::Direct) {
        tell(&format!("{}: start and idle", kind.name()));
        let (target, starts) = start_often(3, || start(kind))?;
        let mut bench = Bench {
            target: &target,
            upstream: &upstream,
            plan: &cli.plan,
            stop: &stop,
            failures: &mut outcome.failures,
        };
        outcome.footprint.footprint = Some(bench.footprint(cli.idle, &starts)?);
    }

    let targets: Vec<Target> = kinds.iter().map(|&kind| start(kind)).collect::<Result<_, _>>()?;
    for round in 1..=cli.rounds {
        for (target, outcome) in targets.iter().zip(&mut outcomes) {
            tell(&format!("{}: round {round} of {}", target.kind.name(), cli.rounds));
            let mut bench =
                Bench { target, upstream: &upstream, plan: &cli.plan, stop: &stop, failures: &mut outcome.failures };
            outcome.rounds.push(bench.round()?);
        }
    }
    for complaint in targets.iter().map(Target::complaints).collect::<Result<Vec<_>, _>>()?.concat().iter().take(20) {
        tell(complaint);
    }

    let report = Report::new(outcomes);
    show(&report.table());
    if let Some(file) = cli.json {
        fs::write(file, format!("{:#}\n", report.json()))?;
    }
    if report.failures() > 0 {
        tell("this run had errors: its figures are not to be trusted");
    }
    Ok(report.failures() == 0)
}

impl Outcome {
    fn new(kind: Kind) -> Self {
        Self { name: kind.name(), rounds: Vec::new(), footprint: Round::default(), failures: Failures::default() }
    }
}

/// Thousands of streams need as many files, here and in the processes that inherit this.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If not, opening streams fails and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[expect(clippy::print_stderr, reason = "progress and complaints, beside the figures")]
fn tell(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
fn show(table: &str) {
    println!("{table}");
}
