//! What the doctor says: findings, and their form as JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// The version of the JSON form. What is added to it changes nothing that is there.
const FORM: u32 = 1;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    Ok,
    NotChecked,
    Warning,
    Problem,
}

impl Severity {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotChecked => "not_checked",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// What is looked at. The names stand in docs/operations.md, and scripts read them: none is changed.
macro_rules! checks {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Check { $($variant),+ }

        impl Check {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$variant),+];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

checks! {
    Settings = "settings",
    SettingsUnknown = "settings.unknown",
    SettingsTogether = "settings.together",
    SecretsStrength = "secrets.strength",
    SecretsReuse = "secrets.reuse",
    SecretsFile = "secrets.file",
    NatsServer = "nats.server",
    NatsTls = "nats.tls",
    NatsStreams = "nats.streams",
    NatsSettings = "nats.settings",
    NatsRights = "nats.rights",
    NatsLatency = "nats.latency",
    NatsWrite = "nats.write",
    N8nAddress = "n8n.address",
    N8nTls = "n8n.tls",
    N8nWebhook = "n8n.webhook",
    N8nKey = "n8n.key",
    N8nAnswer = "n8n.answer",
    N8nStreaming = "n8n.streaming",
    N8nFirstText = "n8n.first_text",
    N8nKeepalive = "n8n.keepalive",
    N8nToken = "n8n.token",
    N8nApi = "n8n.api",
    Clock = "clock",
    AnalyticsFile = "analytics.file",
    AnalyticsDisk = "analytics.disk",
    Telemetry = "telemetry",
    Time = "time",
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    /// Which role, site or server.
    pub(crate) of: String,
    pub(crate) severity: Severity,
    /// How it is, in one sentence.
    pub(crate) says: String,
    /// What to do, in one; where there is something to do.
    pub(crate) fix: Option<String>,
    /// What was measured.
    pub(crate) took: Option<Duration>,
}

impl Finding {
    pub(crate) fn ok(check: Check, of: &str, says: impl Into<String>) -> Self {
        Self { check, of: of.to_owned(), severity: Severity::Ok, says: says.into(), fix: None, took: None }
    }

    pub(crate) fn warning(check: Check, of: &str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, fix: Some(fix.into()), ..Self::ok(check, of, says) }
    }

    pub(crate) fn problem(check: Check, of: &str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, ..Self::warning(check, of, says, fix) }
    }

    pub(crate) fn not_checked(check: Check, of: &str, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { severity: Severity::NotChecked, ..Self::warning(check, of, says, fix) }
    }

    pub(crate) fn took(self, took: Duration) -> Self {
        Self { took: Some(took), ..self }
    }

    fn json(&self) -> Value {
        json!({
            "check": self.check.name(),
            "of": self.of,
            "severity": self.severity.word(),
            "says": self.says,
            "fix": self.fix,
            "ms": self.took.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3),
        })
    }
}

/// All findings, as scripts read them.
pub(crate) fn document(roles: &[&str], findings: &[Finding]) -> Value {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    json!({
        "v": FORM,
        "version": env!("CARGO_PKG_VERSION"),
        "roles": roles,
        "healthy": count(Severity::Problem) == 0,
        "counts": {
            "ok": count(Severity::Ok),
            "not_checked": count(Severity::NotChecked),
            "warning": count(Severity::Warning),
            "problem": count(Severity::Problem),
        },
        "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
    })
}

/// Says once what is the same for several roles.
pub(crate) fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let same = |known: &&mut Finding| {
            (known.check, known.severity, &known.says, &known.fix)
                == (finding.check, finding.severity, &finding.says, &finding.fix)
        };
        match merged.iter_mut().find(same) {
            Some(known) if known.of.split(", ").any(|of| of == finding.of) => {}
            Some(known) => known.of = format!("{}, {}", known.of, finding.of),
            None => merged.push(finding),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name stands in the table of the docs, and no other.
    #[test]
    fn every_check_is_documented() {
        let docs = include_str!("../../../../docs/operations.md");
        let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let table = docs.split_once("<!-- doctor -->").expect("it begins").1;
        let table = table.split_once("<!-- end of doctor -->").expect("it ends").0;
        let documented: Vec<&str> =
            rows.map(|(name, _)| name).filter(|name| table.contains(&format!("| `{name}` |"))).collect();
        let names: Vec<&str> = Check::ALL.iter().map(|check| check.name()).collect();
        assert_eq!(documented, names);
    }

    #[test]
    fn what_is_said_twice_is_said_once() {
        let of = |role: &str| Finding::ok(Check::NatsServer, role, "is there");
        let other = Finding::warning(Check::NatsServer, "edge", "is there", "leave it");
        let merged = merged(vec![of("edge"), other.clone(), of("worker"), of("edge")]);
        assert_eq!(merged, [Finding { of: "edge, worker".into(), ..of("edge") }, other]);
    }

    #[test]
    fn the_document_counts() {
        let findings = [
            Finding::ok(Check::NatsLatency, "edge", "0.4 ms").took(Duration::from_micros(412)),
            Finding::problem(Check::N8nKey, "site default", "is refused", "set N8N_API_KEY"),
        ];
        let document = document(&["edge", "worker"], &findings);
        assert_eq!(document["counts"], json!({"ok": 1, "not_checked": 0, "warning": 0, "problem": 1}));
        assert_eq!((&document["healthy"], &document["v"]), (&json!(false), &json!(1)));
        assert_eq!(
            document["findings"][0],
            json!({"check":"nats.latency","of":"edge","severity":"ok","says":"0.4 ms","fix":null,"ms":0.412})
        );
        assert_eq!(document["findings"][1]["fix"], "set N8N_API_KEY");
    }
}
