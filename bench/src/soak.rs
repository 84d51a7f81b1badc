//! Steady load for long, and nobody is struck: does any process grow?

use std::{
    fs,
    path::Path,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    chaos::{Common, SETTINGS, Shared, in_folder},
    clock::Stop,
    fleet::{Fleet, Role},
    ledger::Ledger,
    targets::Frontdesk,
    tell,
    upstream::Book,
};

/// Keeps a deployment busy for long, and fits a line through the memory of each process.
#[derive(clap::Args)]
pub(crate) struct Soak {
    #[command(flatten)]
    common: Common,
    /// How long, warm-up included.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// How long caches get to fill before the line begins. A worker keeps the records of resting conversations for ten
    /// minutes; everything else is set to fill within two.
    #[arg(long, default_value_t = 12.0)]
    warm_up: f64,
    /// Visitors at once; each begins a new conversation after a few messages. With many more, a worker's records of
    /// resting conversations are at their bound of 16 MiB all the time, and what the allocator makes of that is the noise.
    #[arg(long, default_value_t = 8)]
    visitors: usize,
    /// The steepest slope that is fine, in MB an hour.
    #[arg(long, default_value_t = 1.0)]
    limit: f64,
}

const EVERY: Duration = Duration::from_secs(10);

/// While analytics is below this, what it takes more of is its database's cache, which is bounded by 32 MiB and takes
/// more than an hour of such a load to fill.
const ANALYTICS_MB: f64 = 64.0;

/// What is kept for long is kept for less, so that it is full when the line begins.
const SHORT: &[(&str, &str)] = &[
    ("RESUME_WINDOW", "2m"),
    ("N8N_TOTAL_TIMEOUT", "1m"),
    ("SPAM_WINDOW", "1m"),
    ("FACTS_MAX_BYTES", "8MiB"),
    ("LOG_LEVEL", "warn"),
];

/// One process at one moment.
#[derive(Clone, Copy)]
struct Sample {
    /// Seconds from the start.
    at: f64,
    /// Resident.
    mb: f64,
    files: usize,
    threads: usize,
}

/// A straight line through samples: MB an hour, and twice its standard error.
fn slope(samples: &[Sample]) -> Option<(f64, f64)> {
    let n = samples.len() as f64;
    if samples.len() < 3 {
        return None;
    }
    let hours = |sample: &Sample| sample.at / 3600.0;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / n;
    let (at, mb) = (mean(&hours), mean(&|sample| sample.mb));
    let spread: f64 = samples.iter().map(|s| (hours(s) - at).powi(2)).sum();
    let slope = samples.iter().map(|s| (hours(s) - at) * (s.mb - mb)).sum::<f64>() / spread;
    let left: f64 = samples.iter().map(|s| (s.mb - mb - slope * (hours(s) - at)).powi(2)).sum();
    Some((slope, 2.0 * (left / (n - 2.0) / spread).sqrt()))
}

/// Says whether nothing grew, and nothing went wrong.
pub(crate) fn run(soak: &Soak) -> anyhow::Result<bool> {
    anyhow::ensure!(soak.warm_up < soak.minutes, "the warm-up must be shorter than the run");
    let time = Duration::from_secs_f64(soak.minutes * 60.0);
    let stop = Stop::listen(time + Duration::from_secs(300))?;
    in_folder(soak.common.folder.as_deref(), |folder| hold(soak, time, &stop, folder))
}

fn hold(soak: &Soak, time: Duration, stop: &Stop, folder: &Path) -> anyhow::Result<bool> {
    let (book, upstream) = Book::serve()?;
    let frontdesk = Frontdesk::new(Some(&soak.common.frontdesk), upstream, stop)?;
    let settings = [SETTINGS, SHORT].concat();
    let mut fleet = Fleet::start(frontdesk, folder, (soak.common.pairs, soak.common.pairs), &settings, stop)?;
    let (edges, begun, bound) = (fleet.edges(), Instant::now(), Duration::from_secs(60));
    let ledger = Mutex::new(Ledger::default());
    let shared = Shared { edges: &edges, book: &book, ledger: &ledger, stop, begun, until: begun + time, bound };
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); fleet.members.len()];
    shared.crowd(soak.visitors, soak.common.seed, |_| watch(&mut fleet, &shared, &mut samples))?;
    let mut ledger = ledger.into_inner().expect("nothing panics while holding it");
    ledger.faults.append(&mut fleet.faults);
    let (table, rows, steep) = report(soak, &fleet, &samples);
    drop(fleet);
    // Nobody was struck.
    ledger.audit(0, book.late());
    crate::show(&format!("{table}\n{}", ledger.table()));
    if let Some(file) = &soak.common.json {
        let report = json!({"minutes": soak.minutes, "warm_up": soak.warm_up, "limit_mb_per_hour": soak.limit,
            "processes": rows, "ledger": ledger.json()});
        fs::write(file, format!("{report:#}\n"))?;
    }
    Ok(!steep && ledger.is_clean())
}

/// Samples all processes until the time is over.
fn watch(fleet: &mut Fleet<'_>, shared: &Shared<'_>, samples: &mut [Vec<Sample>]) -> anyhow::Result<()> {
    let (mut next, mut told) = (shared.begun, Instant::now());
    while Instant::now() < shared.until {
        shared.stop.check()?;
        fleet.step()?;
        if Instant::now() >= next {
            next += EVERY;
            for (member, samples) in fleet.members.iter().zip(samples.iter_mut()) {
                let Some(process) = &member.process else { continue };
                let (files, threads) = process.files_and_threads()?;
                let mb = process.memory()? as f64 / 1e6;
                samples.push(Sample { at: shared.begun.elapsed().as_secs_f64(), mb, files, threads });
            }
            if told.elapsed() > Duration::from_secs(60) {
                told = Instant::now();
                let now = fleet.members.iter().zip(samples.iter()).filter_map(|(member, samples)| {
                    samples.last().map(|sample| format!("{} {:.1}", member.name, sample.mb))
                });
                let now: Vec<String> = now.collect();
                tell(&format!("{} s, MB: {}", shared.begun.elapsed().as_secs(), now.join(", ")));
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn report(soak: &Soak, fleet: &Fleet<'_>, samples: &[Vec<Sample>]) -> (String, Vec<Value>, bool) {
    let mut table = format!(
        "| after {} of {} minutes | MB | slope, MB/h | at the end, MB | files | threads |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
        soak.warm_up, soak.minutes
    );
    let (mut rows, mut steep) = (Vec::new(), false);
    for (member, samples) in fleet.members.iter().zip(samples) {
        let warm: Vec<Sample> = samples.iter().copied().filter(|sample| sample.at >= soak.warm_up * 60.0).collect();
        let (Some(first), Some(last)) = (warm.first(), warm.last()) else { continue };
        let Some((slope, error)) = slope(&warm) else { continue };
        // nats-server is not ours; its file store keeps facts until they fill their stream.
        let judged = match member.role {
            Role::Nats => false,
            Role::Analytics => last.mb > ANALYTICS_MB,
            Role::Edge | Role::Worker => true,
        };
        let too_steep = judged && slope > soak.limit;
        steep |= too_steep;
        let mark = if too_steep { " **too steep**" } else { "" };
        table += &format!(
            "| {} | {:.1} | {slope:.2} ± {error:.2}{mark} | {:.1} | {} → {} | {} → {} |\n",
            member.name, first.mb, last.mb, first.files, last.files, first.threads, last.threads
        );
        let series: Vec<_> = samples.iter().map(|s| json!([s.at.round(), s.mb, s.files, s.threads])).collect();
        rows.push(json!({"name": member.name, "slope_mb_per_hour": slope, "twice_its_standard_error": error,
            "judged": judged, "seconds_mb_files_threads": series}));
    }
    (table, rows, steep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_under_noise() {
        let sample = |n: u32, mb: f64| Sample { at: f64::from(n) * 10.0, mb, files: 0, threads: 0 };
        let noise = |n: u32| if n.is_multiple_of(2) { 0.05 } else { -0.05 };
        let check = |per_hour: f64| {
            let of = |n: u32| sample(n, 20.0 + per_hour * f64::from(n) / 360.0 + noise(n));
            let (slope, error) = slope(&(0..100).map(of).collect::<Vec<_>>()).unwrap();
            assert!((slope - per_hour).abs() <= error && error < 0.3, "{per_hour}: {slope} ± {error}");
        };
        check(0.0);
        check(1.0);
        check(30.0);
        assert_eq!(slope(&[sample(0, 1.0), sample(1, 2.0)]), None);
    }
}
