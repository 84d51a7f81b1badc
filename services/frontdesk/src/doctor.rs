//! `frontdesk doctor`: looks at all that a role needs, before visitors find out.
//!
//! - `settings`, `secrets`: what stands in the environment and in `.env`, as the roles would read it.
//! - `nats`, `n8n`, `analytics`, `telemetry`, `clock`: what is around, asked for real.
//! - `finding`: what is said of each, and its form as JSON; `text`: the same for people.
//!
//! What knows NATS or n8n is in `bus` and `worker`; here stand the sentences.

mod analytics;
mod clock;
mod finding;
mod n8n;
mod nats;
mod secrets;
mod settings;
mod telemetry;
mod text;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    pin::Pin,
    process::ExitCode,
    time::Duration,
};

use tokio::task::JoinSet;

use crate::cli::{Doctor, DoctorRole as Role, OverNats};
use finding::{Check, Finding, Severity, document, merged};
use settings::Settings;

type Looking = Pin<Box<dyn Future<Output = Vec<Finding>> + Send>>;

/// Something to look at that takes time: its place in the report, what it is called, and how.
struct Look {
    name: String,
    how: Looking,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::AllInOne => "all-in-one",
            Self::Edge => "edge",
            Self::Worker => "worker",
            Self::Analytics => "analytics",
            Self::NatsSetup => "nats-setup",
        }
    }

    /// As it is typed after the executable's name.
    fn command(self) -> Option<&'static str> {
        (self != Self::AllInOne).then(|| self.word())
    }

    /// The roles that this environment is for.
    fn guess() -> Vec<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match set("NATS_USER").as_deref() {
            Some("edge") => vec![Self::Edge],
            Some("worker") => vec![Self::Worker],
            Some("analytics") => vec![Self::Analytics],
            Some("admin") => vec![Self::NatsSetup],
            _ if set("NATS_URL").is_some() => vec![Self::Edge, Self::Worker, Self::Analytics],
            _ => vec![Self::AllInOne],
        }
    }
}

#[expect(clippy::print_stdout, reason = "the findings are what was asked for")]
pub(crate) async fn doctor(asked: Doctor) -> anyhow::Result<ExitCode> {
    let mut roles = if asked.role.is_empty() { Role::guess() } else { asked.role.clone() };
    roles.dedup();
    let mut findings = Vec::new();
    let mut read = Vec::new();
    for role in &roles {
        let (settings, found) = settings::read(*role);
        findings.extend(found);
        read.extend(settings);
    }
    findings.extend(settings::unknown());
    findings.extend(secrets::examine(&settings::secrets()));
    findings.extend(secrets::file(Path::new(".env")));
    let sites = sites(&read, &mut findings);
    let call = !asked.no_call && may_call(&asked, &sites);
    let mut looks = Vec::new();
    for settings in &read {
        looks.extend(at_nats(settings));
    }
    for site in sites {
        let (name, patience) = (format!("n8n of site {}", site.id), asked.timeout);
        looks.push(Look { name, how: Box::pin(async move { n8n::examine(&site, call, patience).await }) });
    }
    looks.extend(read.iter().find_map(at_analytics));
    let (endpoint, headers) = (asked.otlp_endpoint.clone(), asked.otlp_headers.clone());
    looks.push(Look {
        name: "telemetry".to_owned(),
        how: Box::pin(async move { vec![telemetry::examine(endpoint.as_deref(), headers.as_deref()).await] }),
    });
    findings.extend(all(looks, asked.timeout).await);
    let findings = merged(findings);
    let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
    if asked.json {
        println!("{}", serde_json::to_string_pretty(&document(&words, &findings))?);
    } else {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        println!("Looked at {} with the settings of this environment.\n", words.join(", "));
        print!("{}", text::of(&findings, colour));
    }
    let sick = findings.iter().any(|finding| finding.severity == Severity::Problem);
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The sites whose n8n a role of these would call.
fn sites(read: &[Settings], findings: &mut Vec<Finding>) -> Vec<worker::Site> {
    let config = read.iter().find_map(|settings| match settings {
        Settings::Worker(role) => Some(&role.worker),
        Settings::AllInOne(all) => Some(&all.worker),
        _ => None,
    });
    let Some(config) = config else { return vec![] };
    if config.n8n.webhook_url.is_none() && config.n8n_sites_file.is_none() {
        if matches!(read.first(), Some(Settings::AllInOne(_))) {
            let says = "N8N_WEBHOOK_URL is not set: a demo answers in the place of n8n.";
            let fix = "Set N8N_WEBHOOK_URL to the production URL of your workflow.";
            findings.push(Finding::not_checked(Check::N8nWebhook, "site default", says, fix));
        }
        return vec![];
    }
    // What is wrong with them was said with the settings.
    config.for_doctor().unwrap_or_default()
}

/// Says that workflows will run, and lets who sits at a terminal say no.
#[expect(clippy::print_stderr, reason = "a question to whoever sits there")]
fn may_call(asked: &Doctor, sites: &[worker::Site]) -> bool {
    if sites.is_empty() || asked.call {
        return true;
    }
    let which: Vec<&str> = sites.iter().map(|site| site.id.as_str()).collect();
    eprintln!(
        "This calls the n8n workflow of {} up to three times with a test message, marked by\n\
         metadata.context.frontdesk_doctor: a model may be asked, and paid for. --no-call leaves that out.",
        which.join(", ")
    );
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return true;
    }
    eprint!("Call it? [Y/n] ");
    io::stderr().flush().ok();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok_and(|bytes| bytes > 0) && !answer.trim().to_ascii_lowercase().starts_with('n')
}

fn at_nats(settings: &Settings) -> Option<Look> {
    let (role, user, over): (&'static str, &'static str, &OverNats) = match settings {
        Settings::AllInOne(_) => return None,
        Settings::Edge(edge) => ("edge", "edge", &edge.over),
        Settings::Worker(worker) => ("worker", "worker", &worker.over),
        Settings::Analytics(analytics) => ("analytics", "analytics", &analytics.over),
        Settings::NatsSetup(setup) => ("nats-setup", "admin", &setup.over),
    };
    let setup = match settings {
        Settings::NatsSetup(setup) => setup.setup.clone(),
        // What the streams should be like stands in the same environment, or has its defaults.
        _ => match settings::read(Role::NatsSetup).0 {
            Some(Settings::NatsSetup(setup)) => setup.setup,
            _ => return None,
        },
    };
    let (bus, nats) = (over.bus.clone(), over.nats.clone());
    let how = async move { nats::findings(role, bus::examine(&bus, &nats, &setup, user).await) };
    Some(Look { name: format!("NATS as {role}"), how: Box::pin(how) })
}

fn at_analytics(settings: &Settings) -> Option<Look> {
    let config = match settings {
        Settings::Analytics(role) => role.analytics.clone().on_disk(),
        // Without a file it keeps everything in memory.
        Settings::AllInOne(all) if all.analytics.analytics_db_path.is_some() => all.analytics.clone(),
        _ => return None,
    };
    Some(Look { name: "analytics".to_owned(), how: Box::pin(async move { analytics::examine(&config).await }) })
}

/// Looks at all at once, each within its time, and gives the findings in their order.
async fn all(looks: Vec<Look>, timeout: Duration) -> Vec<Finding> {
    // What has limits of its own says better what was slow.
    let limit = timeout.saturating_add(Duration::from_secs(15));
    let mut progress = Progress::of(&looks);
    let mut tasks = JoinSet::new();
    let mut found: Vec<Vec<Finding>> = looks.iter().map(|_| Vec::new()).collect();
    for (place, look) in looks.into_iter().enumerate() {
        let Look { name, how } = look;
        tasks.spawn(async move {
            let late = |_| {
                let says = format!("Looking at this took longer than {limit:?}.");
                vec![Finding::problem(
                    Check::Time,
                    &name,
                    says,
                    "Run this again with a longer --timeout, and look what is slow.",
                )]
            };
            (place, tokio::time::timeout(limit, how).await.unwrap_or_else(late))
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((place, findings)) = done {
            progress.done(place);
            found[place] = findings;
        }
    }
    progress.end();
    found.into_iter().flatten().collect()
}

/// What is still looked at, for who waits at a terminal.
struct Progress {
    waiting: Vec<Option<String>>,
    shown: bool,
}

impl Progress {
    fn of(looks: &[Look]) -> Self {
        let progress = Self {
            waiting: looks.iter().map(|look| Some(look.name.clone())).collect(),
            shown: io::stderr().is_terminal(),
        };
        progress.show();
        progress
    }

    fn done(&mut self, place: usize) {
        self.waiting[place] = None;
        self.show();
    }

    #[expect(clippy::print_stderr, reason = "the terminal of who waits; nothing that is kept")]
    fn show(&self) {
        let names: Vec<&str> = self.waiting.iter().flatten().map(String::as_str).collect();
        if self.shown && !names.is_empty() {
            eprint!("\r\x1b[Klooking at {}", names.join(", "));
        }
    }

    #[expect(clippy::print_stderr, reason = "the same")]
    fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(name: &str, how: impl Future<Output = Vec<Finding>> + Send + 'static) -> Look {
        Look { name: name.to_owned(), how: Box::pin(how) }
    }

    /// What hangs is told, what is slow keeps its place, and all are looked at together.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_for_ever() {
        let ok = |of: &'static str| vec![Finding::ok(Check::NatsServer, of, "is there")];
        let began = tokio::time::Instant::now();
        let found = all(
            vec![
                look("slow", async move {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    ok("slow")
                }),
                look("hangs", std::future::pending()),
                look("fast", async move { ok("fast") }),
            ],
            Duration::from_secs(10),
        )
        .await;
        let seen: Vec<_> = found.iter().map(|finding| (finding.of.as_str(), finding.check)).collect();
        assert_eq!(seen, [("slow", Check::NatsServer), ("hangs", Check::Time), ("fast", Check::NatsServer)]);
        assert!(began.elapsed() < Duration::from_secs(26));
    }
}
