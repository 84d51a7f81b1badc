//! What the process takes of its machine, and how its runtime does: read when somebody looks. What the system does not
//! tell (it is Linux that does) is left out.

use std::{
    fmt, fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::metrics::Metrics;

/// Ticks of a second in /proc, on every machine that this runs on, whatever the kernel's own clock is.
const TICKS: f64 = 100.0;

/// Shows both. Within the runtime that is to be shown.
pub fn register(metrics: &Metrics) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let watched = Watched { started, runtime: Handle::current().metrics() };
    metrics.register(|registry| registry.register_collector(Box::new(watched)));
}

struct Watched {
    /// Since 1970.
    started: Duration,
    runtime: RuntimeMetrics,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched(..)")
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut show = |name: &str, help: &str, unit: Option<&Unit>, value: &dyn Shown| {
            value.show(encoder.encode_descriptor(name, help, unit, value.kind())?)
        };
        show(
            "process_start_time",
            "When the process began, in Unix time",
            Some(&Unit::Seconds),
            &ConstGauge::new(self.started.as_secs_f64()),
        )?;
        if let Some(Usage { cpu_seconds, threads }) = usage() {
            show("process_cpu", "CPU time that was used", Some(&Unit::Seconds), &ConstCounter::new(cpu_seconds))?;
            show("process_threads", "Threads", None, &ConstGauge::new(threads))?;
        }
        if let Some(bytes) = resident() {
            let help = "Memory that is taken up";
            show("process_resident_memory", help, Some(&Unit::Bytes), &ConstGauge::new(bytes))?;
        }
        if let Some(open) = open_files() {
            show("process_open_fds", "Files and connections open now", None, &ConstGauge::new(open))?;
        }
        if let Some(most) = most_files() {
            show("process_max_fds", "How many of them there may be", None, &ConstGauge::new(most))?;
        }
        let runtime = &self.runtime;
        let workers = runtime.num_workers();
        show("tokio_workers", "Threads that run tasks", None, &count(workers))?;
        show("tokio_tasks", "Tasks alive now", None, &count(runtime.num_alive_tasks()))?;
        show("tokio_queue", "Tasks that wait for any thread now", None, &count(runtime.global_queue_depth()))?;
        let busy: Duration = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
        let help = "Time that these threads were busy, all together";
        show("tokio_busy", help, Some(&Unit::Seconds), &ConstCounter::new(busy.as_secs_f64()))
    }
}

/// Of the encoder's traits, what is needed to show one value.
trait Shown {
    fn kind(&self) -> prometheus_client::metrics::MetricType;
    fn show(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result;
}

impl<M: EncodeMetric> Shown for M {
    fn kind(&self) -> prometheus_client::metrics::MetricType {
        self.metric_type()
    }

    fn show(&self, encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        self.encode(encoder)
    }
}

fn count(count: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}

struct Usage {
    cpu_seconds: f64,
    threads: i64,
}

fn usage() -> Option<Usage> {
    // The process's name comes second, and may hold anything; what comes after its bracket does not.
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Usage { cpu_seconds: (number(11)? + number(12)?) / TICKS, threads: fields.get(17)?.parse().ok()? })
}

fn resident() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn open_files() -> Option<i64> {
    // One of them is the listing itself.
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

fn most_files() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_tells() {
        let before = usage().unwrap();
        assert!(before.threads >= 1);
        let until = std::time::Instant::now() + Duration::from_millis(60);
        let mut sum = 0_u64;
        while std::time::Instant::now() < until {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let used = usage().unwrap().cpu_seconds - before.cpu_seconds;
        assert!((0.01..60.0).contains(&used), "{used} s of CPU");
        assert!(resident().unwrap() > 1 << 20);
        let (open, most) = (open_files().unwrap(), most_files().unwrap());
        let _more = fs::File::open("/proc/self/stat").unwrap();
        assert!(open_files().unwrap() > 0 && most >= open, "{open} of {most}");
    }

    #[tokio::test]
    async fn all_of_it_is_shown() {
        let metrics = Metrics::new(None);
        register(&metrics);
        let text = metrics.shown();
        for name in [
            "process_start_time_seconds",
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
            "tokio_workers",
            "tokio_tasks",
            "tokio_queue",
            "tokio_busy_seconds_total",
        ] {
            assert!(text.lines().any(|line| line.starts_with(&format!("frontdesk_{name} "))), "{name} in {text}");
        }
    }
}
