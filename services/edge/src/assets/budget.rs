//! What the widget weighs, what it loads at once, and that it loads nothing from elsewhere: over the bytes that are
//! served.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::LazyLock,
};

use bytes::Bytes;
use regex::Regex;

use super::{PAGE, files, joined::ENTRY};
use crate::widget;

const KIB: usize = 1024;
/// Before the chat is opened nothing else is loaded.
const EMBED: usize = 7 * KIB / 2;
const FIRST_OPEN: usize = 60 * KIB;
const LOCALE: usize = 2 * KIB;

static FILES: LazyLock<BTreeMap<String, Bytes>> = LazyLock::new(files);

fn content(name: &str) -> Vec<u8> {
    FILES.get(name).unwrap_or_else(|| panic!("{name} is missing")).to_vec()
}

fn text(name: &str) -> String {
    String::from_utf8(content(name)).unwrap_or_else(|_| panic!("{name} is no text"))
}

/// As it goes over the line.
fn weight(content: &[u8]) -> usize {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap().len()
}

/// `./a.js` or `../b.js`, as `from` names it.
fn resolve(from: &str, to: &str) -> String {
    let mut path: Vec<&str> = from.split('/').collect();
    path.pop();
    for part in to.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop().expect("modules stay in the folder")),
            part => path.push(part),
        }
    }
    path.join("/")
}

/// Without comments, of which many speak of imports and addresses.
fn code(name: &str) -> String {
    let comments = Regex::new(r"(?s)/\*.*?\*/|(?m)(^|[\s;{}(,])//[^\n]*").unwrap();
    comments.replace_all(&text(name), "$1").into_owned()
}

/// What a module needs before it runs. `import()` is for later.
fn imports(name: &str) -> Vec<String> {
    let statements =
        Regex::new(r#"(?m)^\s*(?:import|export)\b[^'"();]*?['"]([^'"]+)['"]|\}\s*from\s*['"]([^'"]+)['"]"#).unwrap();
    let code = code(name);
    let found = statements.captures_iter(&code).filter_map(|found| found.get(1).or(found.get(2)));
    found.map(|found| found.as_str()).filter(|to| to.starts_with('.')).map(|to| resolve(name, to)).collect()
}

/// A module and all that it needs.
fn graph(entry: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([entry.to_owned()]);
    let mut next = vec![entry.to_owned()];
    while let Some(name) = next.pop() {
        next.extend(imports(&name).into_iter().filter(|name| seen.insert(name.clone())));
    }
    seen
}

/// Attributes of the page that name a file.
fn named(attribute: &str) -> BTreeSet<String> {
    let found = Regex::new(attribute).unwrap();
    found.captures_iter(&text(PAGE)).map(|found| found[1].to_owned()).collect()
}

#[test]
fn the_launcher_is_small() {
    let weight = weight(&content("embed.js"));
    assert!(weight <= EMBED, "embed.js has {weight} bytes, and may have {EMBED}");
}

/// The libraries are needed a moment later, at the first message, and are counted here all the same.
#[test]
fn what_is_loaded_at_the_first_opening_is_small_with_all_libraries() {
    let mut files = graph(ENTRY);
    let libraries = FILES.keys().filter(|name| name.starts_with("vendor/") && name.ends_with(".js"));
    files.extend(libraries.cloned());
    files.extend(named(r#"<link rel="stylesheet" href="([^"]+)""#));
    files.extend([PAGE, "locales/en.json"].map(str::to_owned));
    let mut weights: BTreeMap<String, usize> =
        files.iter().map(|name| (name.clone(), weight(&content(name)))).collect();
    weights.insert(widget::NAME.to_owned(), weight(widget::Config::embedded().json().as_bytes()));
    let all: usize = weights.values().sum();
    assert!(weights.len() > 8, "the graph was walked: {weights:?}");
    let libraries = ["marked", "idb", "eventsource-parser"];
    assert!(libraries.iter().all(|name| weights.keys().any(|file| file.contains(name))), "{weights:?}");
    assert!(all <= FIRST_OPEN, "{all} bytes, and there may be {FIRST_OPEN}: {weights:#?}");
}

#[test]
fn each_language_is_small() {
    let locales: Vec<_> = FILES.keys().filter(|name| name.starts_with("locales/")).collect();
    assert!(!locales.is_empty());
    for name in locales {
        let weight = weight(&content(name));
        assert!(weight <= LOCALE, "{name} has {weight} bytes, and may have {LOCALE}");
    }
}

/// A module that is only found in another costs a round trip.
#[test]
fn the_page_loads_all_modules_at_once() {
    let loaded = named(r#"<script type="module" src="([^"]+)""#);
    assert_eq!(loaded, graph(ENTRY));
    assert_eq!(loaded, [ENTRY].map(str::to_owned).into(), "all that it needs as one");
}

/// A module that became a part of another file can't be asked for by its name any more.
#[test]
fn what_is_loaded_later_is_there() {
    let later = Regex::new(r#"\bimport\('(\.[^']+)'\)"#).unwrap();
    let mut found = 0;
    for name in FILES.keys().filter(|name| name.starts_with("js/")) {
        for to in later.captures_iter(&code(name)).map(|to| resolve(name, &to[1])).chain(imports(name)) {
            found += 1;
            assert!(FILES.contains_key(&to), "{name} imports {to}, which is not served");
        }
    }
    assert!(found > 50, "{found}");
}

/// What is of a page has no business in a worker, and its files would be loaded once more.
#[test]
fn a_worker_needs_nothing_of_the_page() {
    let needed = graph("js/pow-worker.js");
    assert!(needed.contains("js/pow.js") && !needed.contains(ENTRY), "{needed:?}");
}

#[test]
fn imports_are_found_in_each_form() {
    assert_eq!(resolve("js/a/b.js", "../c.js"), "js/c.js");
    assert_eq!(resolve("js/a.js", "../vendor/x-1/x.js"), "vendor/x-1/x.js");
    assert!(imports("js/sending.js").contains(&ENTRY.to_owned()), "{:?}", imports("js/sending.js"));
}

/// Nothing is asked of another host. Names of vocabularies are no addresses, and `.example` is nobody's.
#[test]
fn no_file_names_another_host() {
    let address = Regex::new(r#"https?://([A-Za-z0-9.-]*)"#).unwrap();
    // A library's sentence about whom to tell of its mistakes is no address that is asked either.
    let vocabularies = ["www.w3.org", "json-schema.org", "github.com"];
    let ends = [".js", ".css", ".html", ".json", ".svg"];
    // The captcha's page is the one that may load its provider's script, and only where one is set up.
    let captcha = ["captcha.html", "js/captcha-frame.js"];
    let ours = |name: &str| ends.iter().any(|end| name.ends_with(end)) && !captcha.contains(&name);
    let mut looked_at = 0;
    for name in FILES.keys().filter(|name| ours(name)) {
        looked_at += 1;
        let code = if name.ends_with(".html") || name.ends_with(".json") { text(name) } else { code(name) };
        for found in address.captures_iter(&code) {
            let host = &found[1];
            let fine =
                host.is_empty() || host == "127.0.0.1" || host.ends_with(".example") || vocabularies.contains(&host);
            assert!(fine, "{name} names {host}");
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}
