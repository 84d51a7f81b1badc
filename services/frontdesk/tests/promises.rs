//! SECURITY.md, docs/reliability.md and docs/complaints.md name a test for each promise. Here it is checked that each of
//! them is in the tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

const FOLDERS: [&str; 5] = ["services", "shared", "widget", "tests", "scripts"];
/// The documents, and fewer promises than each has.
const DOCUMENTS: [(&str, usize); 3] = [("SECURITY.md", 20), ("docs/reliability.md", 8), ("docs/complaints.md", 20)];
const TEXTS: [&str; 4] = ["rs", "py", "js", "sh"];

/// A file of the repository: its path from the root, and what is in it.
struct File {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(folder: &Path, root: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() && name != "target" && name != "node_modules" {
            read(&path, root, files);
        } else if path.extension().and_then(|end| end.to_str()).is_some_and(|end| TEXTS.contains(&end)) {
            let text = fs::read_to_string(&path).expect("it is UTF-8");
            let path = path.strip_prefix(root).expect("it is below").to_owned();
            files.push(File { path, text });
        }
    }
}

/// The cells of each row of the tables whose last column names tests.
fn rows(document: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut named = false;
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        match cells.last() {
            _ if !line.starts_with('|') => named = false,
            Some(&("held by" | "check")) => named = true,
            Some(last) if named && !last.starts_with("---") => rows.push(cells),
            _ => {}
        }
    }
    rows
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// `fn name` in Rust, `def name` in Python, a sentence that a test in JavaScript begins with, or a line of its own in a list
/// that a macro makes tests of.
fn is_test(name: &str, files: &[File]) -> bool {
    let defined = [format!("fn {name}("), format!("def {name}(")];
    let sentence = name.replace('\'', "\\'");
    let told = ["story", "test", "it"].map(|word| format!("{word}('{sentence}',"));
    let told_by_case = format!("it(`{name} (${{");
    let listed = format!("{name},");
    files.iter().any(|file| {
        defined.iter().chain(&told).any(|definition| file.text.contains(definition))
            || file.text.contains(&told_by_case)
            || file.text.lines().any(|line| line.trim() == listed)
    })
}

/// A file, as its path ends when `src` is left out, or the name of a folder.
fn is_place(name: &str, files: &[File]) -> bool {
    files.iter().any(|file| {
        let short: PathBuf = file.path.components().filter(|part| part.as_os_str() != "src").collect();
        short.ends_with(name)
            || file.path.ends_with(name)
            || short.parent().is_some_and(|folder| folder.ends_with(name))
    })
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = root();
    let mut files = Vec::new();
    for folder in FOLDERS {
        read(&root.join(folder), &root, &mut files);
    }
    let mut wrong = Vec::new();
    for (document, at_least) in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("it is there");
        let rows = rows(&text);
        assert!(rows.len() > at_least, "only {} promises were found in {document}", rows.len());
        for row in rows {
            let held_by = quoted(row.last().expect("a row has cells"));
            if held_by.is_empty() {
                wrong.push(format!("{document}: {}: no test", row[0]));
            }
            for name in held_by {
                if !is_test(name, &files) && !is_place(name, &files) && !is_place(&format!("{name}.rs"), &files) {
                    wrong.push(format!("{document}: {}: {name}", row[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no such test or file: {wrong:#?}");
}

#[test]
fn names_are_looked_for_where_tests_are_defined() {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let files = [
        file("services/edge/src/token.rs", "fn one_is() {}\n    two_is,\n // three_is"),
        file("tests/security/a.py", "def four_is(desk):"),
        file(
            "widget/test/a.test.js",
            "  story('is told, as a story', async () => {\n  it(`is told (${how})`, async () => {",
        ),
    ];
    let check = |name: &str, expected: bool| {
        assert_eq!(is_test(name, &files) || is_place(name, &files), expected, "{name}");
    };
    check("one_is", true);
    check("two_is", true);
    check("three_is", false);
    check("four_is", true);
    check("is told, as a story", true);
    check("is told", true);
    check("as a story", false);
    check("edge/token.rs", true);
    check("ge/token.rs", false);
    check("edge/tokens.rs", false);
    check("worker", false);
    assert_eq!(
        rows("| a | held by |\n| --- | --- |\n| x | `y` `z` |\n\n| a | b |\n| c | `d` |"),
        [vec!["x", "`y` `z`"]]
    );
}
