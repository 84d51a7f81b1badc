//! docs/metrics.md lists all that is measured, and nothing else: checked against what running processes say.
//!
//! `UPDATE_DOCS=1` writes the table anew, with the labels that were seen beside those that stand there.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use worker::demo::Script;

use crate::{
    collector::Collector,
    desk::{Desk, Process},
};

/// One metric, as the processes or the document tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    kind: String,
    labels: BTreeSet<String>,
    roles: BTreeSet<String>,
    help: String,
}

type Table = BTreeMap<String, Told>;

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md")
}

fn words(cell: &str) -> BTreeSet<String> {
    let words = cell.split(',').map(|word| word.trim().trim_matches('`')).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The rows of the document.
fn documented(text: &str) -> Table {
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `frontdesk_")?.trim_end_matches('|').split(" | ").collect();
        let [name, kind, labels, roles, help] = cells[..] else { panic!("{line}") };
        let told = Told {
            kind: kind.trim().to_owned(),
            labels: words(labels),
            roles: words(roles),
            help: help.trim().to_owned(),
        };
        Some((format!("frontdesk_{}", name.trim_end_matches('`')), told))
    });
    rows.collect()
}

fn row(name: &str, Told { kind, labels, roles, help }: &Told) -> String {
    let list = |words: &BTreeSet<String>, quote: &str| {
        words.iter().map(|word| format!("{quote}{word}{quote}")).collect::<Vec<_>>().join(", ")
    };
    format!("| `{name}` | {kind} | {} | {} | {help} |", list(labels, "`"), list(roles, ""))
}

/// Adds what a process says.
async fn scrape(table: &mut Table, role: &str, process: &Process) {
    let text = process.metrics().await;
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a sentence");
            name.clone_into(&mut current);
            // The encoder ends each sentence with a full stop.
            let told = table.entry(name.to_owned()).or_default();
            help.trim_end_matches('.').clone_into(&mut told.help);
            told.roles.insert(role.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            // A counter's name in the classic form has its end.
            let mut told = table.remove(&current).expect("its sentence came before");
            kind.clone_into(&mut told.kind);
            if let Some(known) = table.get(name) {
                told.labels.extend(known.labels.clone());
                told.roles.extend(known.roles.clone());
            }
            name.clone_into(&mut current);
            table.insert(current.clone(), told);
        } else if let Some((_, labels)) = line.split_once('{') {
            let (labels, _) = labels.rsplit_once('}').expect("it is closed");
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
            let told = table.get_mut(&current).expect("described before");
            told.labels.extend(names.filter(|name| name != "le"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_metrics_are_documented() {
    let collector = Collector::start().await;
    // With a limit: one that is off has nothing to tell.
    let limits = [("RATE_LIMIT_PER_MINUTE", "1000")];
    let desk = Desk::spread(1, 1, &[&collector.settings()[..], &limits].concat()).await;
    let visitor = desk.visitor().await;
    desk.n8n.will(Script::says(["hello"]));
    visitor.hear("message-1", "hi").await;
    let analytics = desk.analytics.as_ref().expect("it is spread out");
    while analytics.metric("frontdesk_analytics_batch_seconds_count").await == 0.0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut said = Table::new();
    scrape(&mut said, "edge", &desk.edges[0]).await;
    scrape(&mut said, "worker", &desk.workers[0]).await;
    scrape(&mut said, "analytics", analytics).await;
    // All-in-one has one thing that no other mode has.
    let alone = Desk::all_in_one(&[]).await;
    let mut of_one = Table::new();
    scrape(&mut of_one, "all-in-one", &alone.edges[0]).await;
    for (name, told) in of_one {
        said.entry(name).or_insert(told);
    }

    let text = std::fs::read_to_string(document()).expect("docs/metrics.md is there");
    let documented = documented(&text);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        for (name, told) in &mut said {
            told.labels.extend(documented.get(name).map(|known| known.labels.clone()).unwrap_or_default());
        }
        let rows: Vec<String> = said.iter().map(|(name, told)| row(name, told)).collect();
        let before = text.lines().take_while(|line| !line.starts_with("| `frontdesk_"));
        let after = text.lines().skip_while(|line| !line.starts_with("| ---"));
        let after = after.skip(1).skip_while(|line| line.starts_with("| `frontdesk_"));
        let lines: Vec<&str> = before.chain(rows.iter().map(String::as_str)).chain(after).collect();
        std::fs::write(document(), lines.join("\n") + "\n").expect("it can be written");
        return;
    }
    assert!(said.len() > 60, "{said:?}");
    for (name, told) in &said {
        let Some(known) = documented.get(name) else { panic!("docs/metrics.md lacks {name}: {told:?}") };
        let same = |told: &Told| (told.kind.clone(), told.roles.clone(), told.help.clone());
        assert_eq!(same(known), same(told), "{name}");
        // What has not happened has no labels yet.
        assert!(told.labels.is_subset(&known.labels), "{name}: {:?} is not all of {:?}", known.labels, told.labels);
    }
    for name in documented.keys() {
        assert!(said.contains_key(name), "docs/metrics.md has {name}, and nobody says it");
    }
}
