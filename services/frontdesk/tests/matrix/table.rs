//! The tables of the matrix in docs/reliability.md: written by a run with `UPDATE_DOCS=1`, compared by every other one.

use std::{path::PathBuf, sync::Mutex};

use crate::cell::{Cell, Fault, Outcome};

/// Three tests write into one file.
static FILE: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reliability.md"))
}

/// Compares the docs with what was seen, or writes it there.
pub(crate) fn check(fault: Fault, seen: &[(Cell, Outcome)]) {
    let _one_at_a_time = FILE.lock();
    let document = std::fs::read_to_string(path()).expect("docs/reliability.md is there");
    let (begin, end) = (format!("<!-- matrix: {fault} -->\n"), format!("<!-- end of matrix: {fault} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("docs/reliability.md has no {begin}"));
    let (table, after) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/reliability.md has no {end}"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        assert_eq!(seen.len(), Cell::all(fault).len(), "only a whole run is written, without CELLS");
        let table = format!("{HEAD}{}", seen.iter().map(row).collect::<String>());
        std::fs::write(path(), format!("{before}{begin}{table}{end}{after}")).expect("it can be written");
        return;
    }
    // All but the last column, which is time.
    let stable = |row: &str| row.rsplit_once(" | ").map_or(row, |(stable, _)| stable).to_owned();
    let documented: Vec<String> = table.lines().map(stable).collect();
    let missing: Vec<String> =
        seen.iter().map(|seen| stable(row(seen).trim_end())).filter(|row| !documented.contains(row)).collect();
    assert!(
        missing.is_empty(),
        "docs/reliability.md does not say what was seen; UPDATE_DOCS=1 writes it there:\n{}",
        missing.join("\n")
    );
}

const HEAD: &str = "| hit | when | the visitor sees | n8n called | took |\n| --- | --- | --- | --- | --- |\n";

fn row((cell, outcome): &(Cell, Outcome)) -> String {
    let Outcome { seen, asked, took } = outcome;
    format!("| {} | {} | {seen} | {asked} | {:.1} s |\n", cell.victim, cell.moment, took.as_secs_f64())
}
