//! What no schema can say of a widget's configuration: it depends on other keys, or on what else is in the executable.
//! And its own form: values that mean the same are written in one way.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;
use serde_json::{Map, Value};
use url::{Host, Url};

use super::{
    embedded,
    schema::{Problem, below, near, shown},
};
use crate::assets::Folder;

/// The sentences of the widget.
static SENTENCES: LazyLock<Map<String, Value>> = LazyLock::new(|| match embedded("locales/en.json") {
    Value::Object(sentences) => sentences,
    other => panic!("locales/en.json is an object, and not {other}"),
});
static LANGUAGES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let names =
        Folder::iter().filter_map(|name| Some(name.strip_prefix("locales/")?.strip_suffix(".json")?.to_owned()));
    names.collect()
});
static PLACES: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{[A-Za-z0-9_]+\}").expect("it is tested"));

/// Checks what follows the schema, and writes it in the one way.
pub(super) fn apply(config: &mut Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Some(config) = config.as_object_mut() else { return problems };
    config.remove("$schema");
    hosts(config, &mut problems);
    let mut wrong = |path: &str, what: String| problems.push(Problem { path: path.to_owned(), what });
    if let Some(logo) = config.get("logo").and_then(Value::as_str) {
        // The policy names hosts and no ports.
        let url = Url::parse(logo).ok().filter(|url| url.port().is_none());
        let host = url.and_then(|url| url.host_str().map(str::to_owned));
        let hosts = config.get("image_hosts").and_then(Value::as_array).into_iter().flatten();
        match host {
            None => wrong("logo", format!("is {}, which is no address without a port", shown(&Value::from(logo)))),
            Some(host) if !hosts.into_iter().any(|it| it.as_str() == Some(host.as_str())) => {
                wrong("logo", format!("is on {host}, which must stand in `image_hosts`, too"));
            }
            Some(_) => {}
        }
    }
    if let Some(href) = config.get("privacy").and_then(|privacy| privacy.get("href")).and_then(Value::as_str)
        && !Url::parse(href).is_ok_and(|url| url.has_host())
    {
        wrong("privacy.href", format!("is {}, which is no address", shown(&Value::from(href))));
    }
    if let Some(locale) = config.get("locale").and_then(Value::as_str)
        && !speaks(locale)
    {
        let languages: Vec<&str> = LANGUAGES.iter().map(String::as_str).collect();
        wrong("locale", format!("is \"{locale}\", and the widget speaks {}", languages.join(", ")));
    }
    for (key, sentence) in config.get("texts").and_then(Value::as_object).into_iter().flatten() {
        text(key, sentence, &mut problems);
    }
    if let Some(Value::Object(theme)) = config.get_mut("theme")
        && let Some(accent) = theme.get("accent").and_then(Value::as_str)
    {
        let accent = long_colour(accent);
        theme.insert("accent".to_owned(), accent.into());
    }
    problems
}

/// Whether there are sentences in this language.
pub(super) fn speaks(locale: &str) -> bool {
    let language = locale.split('-').next().unwrap_or_default().to_ascii_lowercase();
    LANGUAGES.contains(&language)
}

/// `#rrggbb` in small letters.
fn long_colour(colour: &str) -> String {
    let colour = colour.to_ascii_lowercase();
    match colour.strip_prefix('#') {
        Some(digits) if digits.len() == 3 => {
            digits.chars().fold("#".to_owned(), |all, digit| format!("{all}{digit}{digit}"))
        }
        _ => colour,
    }
}

/// They become part of a header: names of hosts as browsers write them, and nothing else.
fn hosts(config: &mut Map<String, Value>, problems: &mut Vec<Problem>) {
    let Some(Value::Array(hosts)) = config.get_mut("image_hosts") else { return };
    for (at, host) in hosts.iter_mut().enumerate() {
        let name = host.as_str().unwrap_or_default();
        match Host::parse(name) {
            Ok(Host::Domain(domain)) if domain.split('.').all(is_label) => *host = domain.into(),
            _ => problems.push(Problem {
                path: format!("image_hosts[{at}]"),
                what: format!("is {}, and must be the name of a host such as cdn.shop.example", shown(host)),
            }),
        }
    }
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.bytes().all(plain)
}

/// A shop's own sentence: of a key that there is, and with no place for a value that it doesn't get.
fn text(key: &str, sentence: &Value, problems: &mut Vec<Problem>) {
    let path = below("texts", key);
    let Some(own) = SENTENCES.get(key) else {
        let keys: Vec<String> = SENTENCES.keys().cloned().collect();
        let guess = near(key, &keys).map(|guess| format!(" (did you mean {guess}?)")).unwrap_or_default();
        let what = format!("is none of the widget's sentences, which are those of locales/en.json{guess}");
        problems.push(Problem { path, what });
        return;
    };
    let given: BTreeSet<String> = forms(own).flat_map(places).collect();
    let unknown: BTreeSet<String> = forms(sentence).flat_map(places).filter(|place| !given.contains(place)).collect();
    if let Some(place) = unknown.first() {
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let there = if given.is_empty() { "none".to_owned() } else { given.join(", ") };
        problems.push(Problem { path, what: format!("has {place}, for which there is no value; there is {there}") });
    }
}

/// The sentence, or each of its plural forms.
fn forms(sentence: &Value) -> impl Iterator<Item = &str> {
    let one = sentence.as_str().into_iter();
    one.chain(sentence.as_object().into_iter().flatten().filter_map(|(_, form)| form.as_str()))
}

fn places(form: &str) -> Vec<String> {
    PLACES.find_iter(form).map(|place| place.as_str().to_owned()).collect()
}
