//! What can be set stands in three places: `--help`, `.env.example` and the README. They name the same settings, with
//! the same defaults.

use std::{collections::BTreeMap, path::Path, process::Command};

/// `--help` is asked of each of these; the first is the all-in-one mode.
const ROLES: [&[&str]; 9] = [
    &[],
    &["edge"],
    &["worker"],
    &["analytics"],
    &["analytics", "report"],
    &["nats-setup"],
    &["demo-shop"],
    &["keys"],
    &["healthcheck"],
];

/// What the Python predecessor read. Deployments of it move over with these.
const PREDECESSOR: [&str; 9] = [
    "N8N_WEBHOOK_URL",
    "N8N_API_KEY",
    "JWT_SECRET_KEY",
    "SESSION_SECRET_KEY",
    "ALLOWED_ORIGINS",
    "API_HOST",
    "API_PORT",
    "LOG_LEVEL",
    "RATE_LIMIT_PER_MINUTE",
];

/// Names, each with its default; empty where there is none.
type Settings = BTreeMap<String, String>;

/// What the executable reads, by its own word.
fn read() -> Settings {
    let mut settings = Settings::new();
    // Far from any `.env`: what stands in one would show in the help.
    let nowhere = tempfile::tempdir().expect("a temporary folder");
    for role in ROLES {
        let help = Command::new(env!("CARGO_BIN_EXE_frontdesk"))
            .args(role)
            .arg("--help")
            .env_clear()
            .current_dir(nowhere.path())
            .output()
            .expect("the executable runs");
        assert!(help.status.success(), "{role:?}");
        let help = String::from_utf8(help.stdout).expect("help is UTF-8");
        let mut name = None;
        for line in help.lines().map(str::trim) {
            let inside = |key: &str| line.strip_prefix(key).and_then(|rest| rest.strip_suffix(']')).map(str::to_owned);
            if let Some(env) = inside("[env: ") {
                let env = env.split_once('=').map_or(env.clone(), |(env, _)| env.to_owned());
                settings.entry(env.clone()).or_default();
                name = Some(env);
            } else if let (Some(default), Some(name)) = (inside("[default: "), name.take()) {
                let default = default.trim_matches('"').to_owned();
                let known = settings.insert(name.clone(), default.clone()).unwrap_or_default();
                assert!(known.is_empty() || known == default, "{name} is {known} in one role and {default} in another");
            }
        }
    }
    settings
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `# NAME=default` of `.env.example`.
fn example() -> Settings {
    let text = file(".env.example");
    let lines = text.lines().filter_map(|line| {
        let (name, default) = line.trim_start_matches('#').trim_start().split_once('=')?;
        is_name(name).then(|| (name.to_owned(), default.to_owned()))
    });
    lines.collect()
}

/// Every row "| `NAME` | `default` | ..." of the README.
fn table() -> Settings {
    let text = file("README.md");
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`').filter(|name| is_name(name))?;
        let default = cells.next()?.trim();
        // What is not in backquotes is a word about it, such as "none".
        let default = default.strip_prefix('`').and_then(|default| default.strip_suffix('`')).unwrap_or_default();
        Some((name.to_owned(), default.to_owned()))
    });
    rows.collect()
}

#[test]
fn every_setting_is_documented_with_its_default() {
    let expected = read();
    assert!(expected.len() > 40, "the help was not understood: {expected:?}");
    for (place, documented) in [(".env.example", example()), ("README.md", table())] {
        let missing: Vec<_> = expected.keys().filter(|name| !documented.contains_key(*name)).collect();
        let invented: Vec<_> = documented.keys().filter(|name| !expected.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{place} lacks {missing:?}");
        assert!(invented.is_empty(), "{place} names {invented:?}, which nothing reads");
        for (name, default) in &expected {
            assert_eq!(&documented[name], default, "the default of {name} in {place}");
        }
    }
}

#[test]
fn the_names_of_the_predecessor_still_work() {
    let settings = read();
    for name in PREDECESSOR {
        assert!(settings.contains_key(name), "{name}");
    }
}
