//! Secrets: good enough, each for one thing, and readable by their owner alone. No finding shows one.

use std::{collections::BTreeMap, path::Path};

use runtime::Secret;

use super::finding::{Check, Finding};

const KEYS: &str =
    "Make a new one for each with `frontdesk keys` (docs/operations.md says how to change them while visitors chat).";

/// Looks at secrets by name and value.
pub(crate) fn examine(secrets: &[(String, String)]) -> Vec<Finding> {
    let mut findings = strength(secrets);
    findings.extend(reuse(secrets));
    if findings.is_empty() && !secrets.is_empty() {
        let says = "The secrets that are set are long enough, and no two are the same.";
        findings.push(Finding::ok(Check::SecretsStrength, "all roles", says));
    }
    findings
}

/// What a role that reads it would refuse is told there; this is about those that come from somebody else.
fn strength(secrets: &[(String, String)]) -> Vec<Finding> {
    let weak =
        secrets.iter().filter(|(name, _)| ["N8N_API_KEY", "METRICS_TOKEN", "NATS_PASSWORD"].contains(&name.as_str()));
    let tell = |(name, value): &(String, String)| {
        // nats-server's example prefixes its passwords with letters, which does no harm here.
        let weak = Secret::strong(value).err()?;
        Some(Finding::warning(
            Check::SecretsStrength,
            name,
            format!("{name} {}.", weak.to_string().split(';').next()?),
            KEYS,
        ))
    };
    weak.filter_map(tell).collect()
}

/// Who knows one of them should not know another.
fn reuse(secrets: &[(String, String)]) -> Vec<Finding> {
    let mut by_value: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in secrets {
        by_value.entry(value).or_default().push(name);
    }
    let tell = |names: Vec<&str>| {
        let all = names.join(" and ");
        if names.iter().all(|name| name.starts_with("JWT_SECRET_KEY")) {
            let says = format!("{all} are the same: nothing is being rotated.");
            return Finding::warning(Check::SecretsReuse, &names.join(", "), says, "Take JWT_SECRET_KEY_PREVIOUS out.");
        }
        Finding::problem(Check::SecretsReuse, &names.join(", "), format!("{all} are the same secret."), KEYS)
    };
    by_value.into_values().filter(|names| names.len() > 1).map(tell).collect()
}

/// A file with secrets that others on this machine can read.
#[cfg(unix)]
pub(crate) fn file(path: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let name = path.display();
    (mode & 0o044 != 0).then(|| {
        Finding::warning(
            Check::SecretsFile,
            &name.to_string(),
            format!("Everybody on this machine, or its group, can read {name} (mode {:o}).", mode & 0o777),
            format!("chmod 600 {name}."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Severity, *};

    const ONE: &str = "wq3rJm1v8Zt5yBn2Kx7cPd4fGh6jLs9a";
    const TWO: &str = "Tn5bVx2cRk8mWq4zHj7sLp1dFy6gAe3u";

    fn check(secrets: &[(&str, &str)], expected: &[(Check, Severity, &str)]) {
        let secrets: Vec<(String, String)> =
            secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let findings = examine(&secrets);
        let seen: Vec<_> = findings.iter().map(|found| (found.check, found.severity)).collect();
        assert_eq!(seen, expected.iter().map(|(check, severity, _)| (*check, *severity)).collect::<Vec<_>>());
        for (finding, (_, _, word)) in findings.iter().zip(expected) {
            assert!(finding.says.contains(word), "{finding:?}");
            let all = format!("{finding:?}");
            assert!(secrets.iter().all(|(_, value)| !all.contains(value)), "{all}");
        }
    }

    #[test]
    fn each_secret_is_for_one_thing() {
        let strength = Check::SecretsStrength;
        check(&[], &[]);
        check(
            &[("JWT_SECRET_KEY", ONE), ("SESSION_SECRET_KEY", TWO)],
            &[(strength, Severity::Ok, "no two are the same")],
        );
        check(
            &[("ADMIN_TOKEN", ONE), ("JWT_SECRET_KEY", TWO), ("N8N_API_KEY", ONE)],
            &[(Check::SecretsReuse, Severity::Problem, "ADMIN_TOKEN and N8N_API_KEY")],
        );
        check(
            &[("JWT_SECRET_KEY", ONE), ("JWT_SECRET_KEY_PREVIOUS", ONE)],
            &[(Check::SecretsReuse, Severity::Warning, "rotated")],
        );
        check(&[("N8N_API_KEY", "hunter2")], &[(strength, Severity::Warning, "N8N_API_KEY has 7 bytes")]);
        check(
            &[("METRICS_TOKEN", "changeme-changeme-changeme-changeme")],
            &[(strength, Severity::Warning, "placeholder")],
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_read_is_told() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |mode: u32, told: bool| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(super::file(file.path()).is_some(), told, "{mode:o}");
        };
        check(0o600, false);
        check(0o640, true);
        check(0o644, true);
        assert_eq!(super::file(Path::new("/nowhere/.env")), None);
    }
}
