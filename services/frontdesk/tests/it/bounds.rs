//! Each bound that ARCHITECTURE.md names has a counter that tells when it is met.

use std::path::Path;

use crate::desk::Desk;

/// The last column of "Where each bound is": of each row what it is about, and the metrics.
fn table() -> Vec<(String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).expect("it is there");
    let (_, table) = text.split_once("## Where each bound is").expect("it has that part");
    let rows = table.lines().skip_while(|line| !line.starts_with("| ---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with("| "));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "{row}");
        let names = cells[3].split('`').filter(|name| name.contains('_') && !name.contains(['=', ' ']));
        (cells[0].to_owned(), names.map(str::to_owned).collect())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bound_is_counted() {
    let desk = Desk::spread(1, 1, &[]).await;
    // So that requests were counted.
    desk.visitor().await;
    let mut metrics = desk.edges[0].metrics().await;
    metrics += &desk.workers[0].metrics().await;
    metrics += &desk.analytics.as_ref().unwrap().metrics().await;
    let table = table();
    assert!(table.len() > 20, "the table was not understood: {table:?}");
    for (what, names) in table {
        assert!(!names.is_empty(), "{what} has no counter");
        for name in names {
            let described = ["", "_total"].map(|end| format!("# TYPE frontdesk_{name}{end} "));
            assert!(described.iter().any(|line| metrics.contains(line)), "{what}: no frontdesk_{name}");
        }
    }
}
