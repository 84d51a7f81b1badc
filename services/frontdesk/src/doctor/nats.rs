//! NATS, as a role meets it.

use std::time::Duration;

use bus::{ConnectError, Examined, OLDEST_SERVER};

use super::{
    clock,
    finding::{Check, Finding},
    settings::ended,
};

/// A first word takes some of these trips.
const SLOW: Duration = Duration::from_millis(20);
/// A write is flushed by the server, not by the disk.
const SLOW_WRITE: Duration = Duration::from_millis(50);
/// What nats/nats-server.conf sets; a part of a reply is half of it.
const PAYLOAD: usize = 1_000_000;

/// Findings about what the bus saw.
pub(crate) fn findings(role: &'static str, examined: Result<Examined, ConnectError>) -> Vec<Finding> {
    match examined {
        Ok(found) => there(role, &found),
        Err(error) => vec![away(role, &error)],
    }
}

fn away(of: &str, error: &ConnectError) -> Finding {
    let (says, fix) = match error {
        ConnectError::Settings(what) => (ended(what), "Correct these settings (nats/README.md)."),
        ConnectError::Refused(why) => (
            format!("NATS is there, but {}", ended(why)),
            "Give the role its own user of nats/nats-server.conf, and NATS_TLS_CA where the server has TLS.",
        ),
        ConnectError::Bus(error) => {
            (ended(&error.to_string()), "Start nats-server with nats/nats-server.conf, or correct NATS_URL.")
        }
    };
    Finding::problem(Check::NatsServer, of, says, fix)
}

fn there(of: &str, found: &Examined) -> Vec<Finding> {
    let mut findings = vec![server(of, found)];
    findings.push(tls(of, found));
    if !found.jetstream {
        findings.push(Finding::problem(
            Check::NatsStreams,
            of,
            "NATS has no JetStream.",
            "Start nats-server with the block `jetstream` of nats/nats-server.conf.",
        ));
        return findings;
    }
    findings.push(rights(of, found));
    findings.push(streams(of, found));
    findings.extend(settings(of, found));
    findings.extend(latency(of, found));
    findings.extend(found.write.as_ref().map(|write| written(of, write)));
    if let Some(ahead) = found.ahead_ms {
        findings.push(clock::nats(of, ahead));
    }
    findings
}

fn server(of: &str, found: &Examined) -> Finding {
    let version: Vec<u32> = found.version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    let oldest = OLDEST_SERVER.map(|part| part.to_string()).join(".");
    if version < OLDEST_SERVER.to_vec() {
        return Finding::problem(
            Check::NatsServer,
            of,
            format!("nats-server {} is older than {oldest}, and not tested.", found.version),
            format!("Install nats-server {oldest} or newer."),
        );
    }
    if found.max_payload < PAYLOAD {
        return Finding::problem(
            Check::NatsServer,
            of,
            format!("NATS takes messages of {} bytes at most: long replies can't be recorded.", found.max_payload),
            "Set max_payload to 1MB, as nats/nats-server.conf does.",
        );
    }
    Finding::ok(Check::NatsServer, of, format!("nats-server {} lets this role in.", found.version))
}

fn tls(of: &str, found: &Examined) -> Finding {
    match (found.encrypted, found.loopback) {
        (true, _) => Finding::ok(Check::NatsTls, of, "The connection is encrypted."),
        (false, true) => {
            Finding::ok(Check::NatsTls, of, "The connection is not encrypted, and doesn't leave this machine.")
        }
        (false, false) => Finding::warning(
            Check::NatsTls,
            of,
            "The connection is not encrypted: passwords and what visitors write cross the network as they are.",
            "Give nats-server TLS and the roles NATS_TLS_CA (nats/README.md), unless the network is closed and trusted.",
        ),
    }
}

fn rights(of: &str, found: &Examined) -> Finding {
    if found.denied.is_empty() {
        return Finding::ok(Check::NatsRights, of, "NATS allows all that this role does.");
    }
    Finding::problem(
        Check::NatsRights,
        of,
        format!("NATS does not allow this role to {}.", found.denied.join("; ")),
        "Give this role its own user of nats/nats-server.conf (NATS_USER, NATS_PASSWORD), with the permissions that stand there.",
    )
}

fn streams(of: &str, found: &Examined) -> Finding {
    if found.missing.is_empty() {
        return Finding::ok(Check::NatsStreams, of, "All streams and consumers that this role needs are there.");
    }
    let missing = found.missing.join(", ");
    Finding::problem(
        Check::NatsStreams,
        of,
        format!("NATS lacks {missing}."),
        "Run `frontdesk nats-setup`; nothing has to be restarted.",
    )
}

fn settings(of: &str, found: &Examined) -> Vec<Finding> {
    let mut findings: Vec<Finding> = found
        .differences
        .iter()
        .map(|difference| {
            let says = format!("The {} is otherwise than these settings want it: {}.", difference.of, difference.points.join("; "));
            let fix = "Give all roles the same settings (QUEUE_TIMEOUT, RESUME_WINDOW and the like), and run `frontdesk nats-setup` with them.";
            Finding::warning(Check::NatsSettings, of, says, fix)
        })
        .collect();
    if !found.unseen.is_empty() {
        let says = format!("This user may not see how these are kept: {}.", found.unseen.join(", "));
        findings.push(Finding::not_checked(
            Check::NatsSettings,
            of,
            says,
            "`frontdesk doctor --role nats-setup`, as the user admin, sees them.",
        ));
    } else if findings.is_empty() {
        findings.push(Finding::ok(
            Check::NatsSettings,
            of,
            "Streams and consumers are as `frontdesk nats-setup` makes them.",
        ));
    }
    findings
}

fn latency(of: &str, found: &Examined) -> Option<Finding> {
    let round_trip = found.round_trip?;
    let says = format!("NATS answers in {}.", millis(round_trip));
    let finding = if round_trip > SLOW {
        let fix = "Bring NATS nearer to this role: the same machine room, and a disk that is not busy.";
        Finding::warning(Check::NatsLatency, of, format!("{says} A first word waits for some such trips."), fix)
    } else {
        Finding::ok(Check::NatsLatency, of, says)
    };
    Some(finding.took(round_trip))
}

fn written(of: &str, write: &Result<Duration, String>) -> Finding {
    match write {
        Ok(took) if *took > SLOW_WRITE => Finding::warning(
            Check::NatsWrite,
            of,
            format!("NATS takes {} to keep a record.", millis(*took)),
            "Give NATS a faster disk, or one that others don't use; three servers far apart are slow as well.",
        )
        .took(*took),
        Ok(took) => Finding::ok(Check::NatsWrite, of, format!("NATS keeps a record in {}.", millis(*took))).took(*took),
        Err(why) => Finding::problem(
            Check::NatsWrite,
            of,
            format!("NATS does not keep a record: {}", ended(why)),
            "Look whether the disk of NATS is full, and whether its cluster has a leader (its log says).",
        ),
    }
}

pub(super) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    fn good() -> Examined {
        Examined {
            version: "2.10.4".into(),
            encrypted: true,
            max_payload: 1 << 20,
            jetstream: true,
            round_trip: Some(Duration::from_micros(400)),
            write: Some(Ok(Duration::from_millis(2))),
            ahead_ms: Some(3),
            ..Examined::default()
        }
    }

    /// Of all findings exactly this one is not fine.
    fn check(found: Examined, name: Check, severity: Severity, word: &str) {
        let findings = findings("edge", Ok(found));
        let bad: Vec<_> = findings.iter().filter(|finding| finding.severity != Severity::Ok).collect();
        assert_eq!(bad.len(), 1, "{findings:?}");
        assert_eq!((bad[0].check, bad[0].severity), (name, severity), "{bad:?}");
        assert!(bad[0].says.contains(word) && bad[0].fix.is_some(), "{bad:?}");
    }

    #[test]
    fn each_fault_has_its_finding() {
        assert!(findings("edge", Ok(good())).iter().all(|finding| finding.severity == Severity::Ok));
        check(Examined { version: "2.9.9".into(), ..good() }, Check::NatsServer, Severity::Problem, "2.9.9");
        check(Examined { max_payload: 65_536, ..good() }, Check::NatsServer, Severity::Problem, "65536");
        check(Examined { encrypted: false, ..good() }, Check::NatsTls, Severity::Warning, "not encrypted");
        check(Examined { jetstream: false, ..good() }, Check::NatsStreams, Severity::Problem, "JetStream");
        check(Examined { missing: vec!["stream REQ".into()], ..good() }, Check::NatsStreams, Severity::Problem, "REQ");
        check(
            Examined { denied: vec!["publish to chat.req.*".into()], ..good() },
            Check::NatsRights,
            Severity::Problem,
            "chat.req.*",
        );
        let difference = bus::Difference { of: "stream SNAP".into(), points: vec!["max_age is 60s, not 900s".into()] };
        check(Examined { differences: vec![difference], ..good() }, Check::NatsSettings, Severity::Warning, "900s");
        check(
            Examined { unseen: vec!["stream REQ".into()], ..good() },
            Check::NatsSettings,
            Severity::NotChecked,
            "REQ",
        );
        let slow = Some(Duration::from_millis(80));
        check(Examined { round_trip: slow, ..good() }, Check::NatsLatency, Severity::Warning, "80 ms");
        check(
            Examined { write: Some(Err("no space".into())), ..good() },
            Check::NatsWrite,
            Severity::Problem,
            "no space",
        );
        check(Examined { write: slow.map(Ok), ..good() }, Check::NatsWrite, Severity::Warning, "80 ms");
        check(Examined { ahead_ms: Some(-9_000), ..good() }, Check::Clock, Severity::Warning, "9.0 s behind");
    }

    #[test]
    fn a_server_on_this_machine_needs_no_tls() {
        let found = Examined { encrypted: false, loopback: true, ..good() };
        assert!(findings("edge", Ok(found)).iter().all(|finding| finding.severity == Severity::Ok));
    }
}
