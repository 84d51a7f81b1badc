//! The shape of the workspace: which crate may know which. ARCHITECTURE.md draws it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;

/// Every crate of ours, and all that it may know. An arrow that is not here needs a reason and a new drawing.
const ARROWS: [(&str, &[&str]); 7] = [
    ("protocol", &[]),
    ("runtime", &[]),
    ("bus", &["protocol"]),
    // What a service says is in the words of `protocol`; a service never knows another one.
    ("edge", &["bus", "protocol", "runtime"]),
    ("worker", &["bus", "protocol", "runtime"]),
    ("analytics", &["bus", "protocol", "runtime"]),
    ("frontdesk", &["analytics", "bus", "edge", "runtime", "worker"]),
];

/// What each crate of the workspace depends on for what it ships: neither for its tests nor for its build.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs where cargo built this");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    list(&metadata, "packages")
        .iter()
        .map(|package| {
            let normal = list(package, "dependencies").into_iter().filter(|dependency| dependency["kind"].is_null());
            (text(package, "name"), normal.map(|dependency| text(&dependency, "name")).collect())
        })
        .collect()
}

#[test]
fn nobody_knows_more_than_it_may() {
    let all = dependencies();
    let ours: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), ours, "the crates of the workspace");
    for (name, allowed) in ARROWS {
        let known: BTreeSet<&str> = all[name].iter().map(String::as_str).filter(|known| ours.contains(known)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(known.is_subset(&allowed), "{name} may know {allowed:?}, and knows {known:?}");
    }
}

/// One file of one crate names the database, one crate speaks NATS, and so on: what is replaced some day has one owner.
#[test]
fn each_outside_thing_has_one_owner() {
    let all = dependencies();
    let check = |outside: &str, owners: &[&str]| {
        let users: Vec<&str> =
            all.iter().filter(|(_, known)| known.contains(outside)).map(|(name, _)| &**name).collect();
        assert_eq!(users, owners, "who uses {outside}");
    };
    check("async-nats", &["bus"]);
    check("redb", &["analytics"]);
    // The worker for n8n, the executable for `frontdesk healthcheck`, the edge for the shop's public keys and a
    // captcha's answers, every process for the collector of traces.
    check("reqwest", &["edge", "frontdesk", "runtime", "worker"]);
    for opentelemetry in ["opentelemetry", "opentelemetry_sdk", "opentelemetry-otlp", "tracing-opentelemetry"] {
        check(opentelemetry, &["runtime"]);
    }
}
