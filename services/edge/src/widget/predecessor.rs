//! The predecessor's `widget-config.json`: its keys in ours where they mean the same, and for each other one why it has no
//! effect. What stands in the file in our own form wins.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{
    rules,
    schema::{Schema, below, shown},
};

/// What became of a key of the predecessor.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// Its path in the file.
    pub path: String,
    /// Our key that says the same now; none: it has no effect.
    pub became: Option<String>,
    /// Why it has none, or what was changed on the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.became {
            Some(became) => write!(f, "`{}` is `{became}` here", self.path)?,
            None => write!(f, "`{}` has no effect", self.path)?,
        }
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

/// Top-level keys that only the predecessor has.
const SECTIONS: [&str; 7] =
    ["api", "appearance", "behavior", "localization", "integrations", "accessibility", "mobile"];
/// The same below `texts`, where we have sentences.
const TEXTS: [&str; 6] = ["header", "messages", "input", "suggestions", "button", "notifications"];
const COMMENT: &str = "_comment";

/// What a key becomes.
enum Fate {
    /// This key of ours, with this value.
    As(&'static [&'static str], Value),
    /// The same, and what was changed.
    Nearly(&'static [&'static str], Value, String),
    Nothing(&'static str),
}

/// A file in our form, and what became of what was not. A file that has nothing of the predecessor stays as it is.
pub(super) fn translate(mut file: Map<String, Value>, schema: &Schema) -> (Map<String, Value>, Vec<Note>) {
    let mut leaves = Vec::new();
    let no_topics = file.get("behavior").and_then(|behavior| behavior.get("enableSuggestions")) == Some(&json!(false));
    for section in SECTIONS {
        if let Some(value) = file.remove(section) {
            gather(section, value, &mut leaves);
        }
    }
    if let Some(Value::Object(texts)) = file.get_mut("texts") {
        for section in TEXTS {
            if texts.get(section).is_some_and(is_of_the_predecessor) {
                gather(&format!("texts.{section}"), texts.remove(section).unwrap_or_default(), &mut leaves);
            }
        }
        if !leaves.is_empty() {
            texts.remove(COMMENT);
        }
    }
    if leaves.is_empty() {
        return (file, Vec::new());
    }
    file.remove(COMMENT);
    let notes = leaves.into_iter().map(|(path, value)| {
        let fate = match path.as_str() {
            "texts.suggestions" if no_topics => Fate::Nothing("behavior.enableSuggestions is false"),
            path => fate(path, &value, schema),
        };
        note(&mut file, schema, path, fate)
    });
    let notes = notes.collect();
    if file.get("texts").and_then(Value::as_object).is_some_and(Map::is_empty) {
        file.remove("texts");
    }
    (file, notes)
}

/// A sentence of ours has text, or forms of which one is `other`.
fn is_of_the_predecessor(value: &Value) -> bool {
    value.is_array() || value.as_object().is_some_and(|section| !section.contains_key("other"))
}

/// All that is neither an object nor a remark, with its path.
fn gather(path: &str, value: Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object.into_iter().filter(|(key, _)| key != COMMENT) {
                gather(&below(path, &key), value, leaves);
            }
        }
        leaf => leaves.push((path.to_owned(), leaf)),
    }
}

/// Writes what a key becomes, unless that is wrong or already there.
fn note(file: &mut Map<String, Value>, schema: &Schema, path: String, fate: Fate) -> Note {
    let nothing = |path, why| Note { path, became: None, why: Some(why) };
    let (target, value, why) = match fate {
        Fate::Nothing(why) => return nothing(path, why.to_owned()),
        Fate::As(target, value) => (target, value, None),
        Fate::Nearly(target, value, why) => (target, value, Some(why)),
    };
    let became = target.join(".");
    // The whole file with this one key, so that the schema says of it what it would say of our own.
    let mut alone = Map::new();
    put(&mut alone, target, value.clone());
    let mut alone = Value::Object(alone);
    if let Some(problem) = schema.problems(&alone).into_iter().next() {
        return nothing(path, format!("as `{}` it {}", problem.path, problem.what));
    }
    // Its sentences may have places for values that ours don't have: no reason for an edge not to start.
    if let Some(problem) = rules::apply(&mut alone).into_iter().next() {
        return nothing(path, format!("as `{became}` it {}; write a sentence of your own at `{became}`", problem.what));
    }
    if !put(file, target, value) {
        return nothing(path, format!("`{became}` is in the file, too"));
    }
    Note { path, became: Some(became), why }
}

/// Sets a key, and says whether it was free.
fn put(object: &mut Map<String, Value>, path: &[&str], value: Value) -> bool {
    match path {
        [] => false,
        [key] if object.contains_key(*key) => false,
        [key] => object.insert((*key).to_owned(), value).is_none(),
        [key, rest @ ..] => match object.entry(*key).or_insert_with(|| json!({})) {
            Value::Object(inner) => put(inner, rest, value),
            _ => false,
        },
    }
}

fn fate(path: &str, value: &Value, schema: &Schema) -> Fate {
    let same = |target| Fate::As(target, value.clone());
    match path {
        "appearance.theme.primaryColor" => same(&["theme", "accent"]),
        "appearance.theme.borderRadius" => radius(value, schema),
        "appearance.theme.fontFamily" => font(value),
        "appearance.position" => match value.as_str() {
            Some("bottom-left") => Fate::As(&["side"], json!("start")),
            Some("bottom-right") => Fate::As(&["side"], json!("end")),
            _ => Fate::Nothing("it is neither bottom-left nor bottom-right"),
        },
        "appearance.dimensions.width" => size(value),
        "texts.header.title" => same(&["name"]),
        "texts.header.subtitle" => same(&["tagline"]),
        "texts.header.statusOffline" => same(&["texts", "status_offline"]),
        "texts.messages.welcomeMessage" => welcome(value, schema),
        "texts.messages.errorMessage" => same(&["texts", "error"]),
        "texts.messages.typingIndicator" => same(&["texts", "answering"]),
        "texts.input.placeholder" => same(&["texts", "placeholder"]),
        "texts.input.sendButtonAriaLabel" => same(&["texts", "send"]),
        "texts.suggestions" => topics(value, schema),
        "behavior.enableSuggestions" => Fate::Nothing("topics are shown where there are any"),
        "behavior.enableSoundNotifications" => same(&["features", "sound"]),
        "behavior.autoOpen" | "behavior.autoOpenDelay" => Fate::Nothing("the tag says so, by data-open"),
        "behavior.maxMessageLength" => {
            Fate::Nothing("the edge says so: MESSAGE_MAX_CHARS, or message_max_chars of a site")
        }
        "behavior.enableTypingIndicator" | "behavior.enableMarkdown" | "behavior.sessionPersistence" => {
            Fate::Nothing("it is always so")
        }
        "localization.locale" => match value.as_str() {
            Some(locale) if rules::speaks(locale) => same(&["locale"]),
            _ => Fate::Nothing("the widget doesn't speak it; visitors get their own language where it does"),
        },
        "localization.rtl" => Fate::Nothing("the language says so"),
        _ => Fate::Nothing(section(path)),
    }
}

/// Why nothing of a section has an effect that was not named.
fn section(path: &str) -> &'static str {
    const SECTIONS: [(&str, &str); 12] = [
        ("api.", "the widget finds Frontdesk by its own address"),
        ("appearance.theme.", "all colours are computed from the accent, so that everything can be read"),
        ("appearance.dimensions.", "`size` has three sizes; phones get the whole screen"),
        ("appearance.", "that is part of the design"),
        ("texts.button.", "pictures are part of the design"),
        ("texts.", "the widget has no such text"),
        ("behavior.rateLimit.", "the edge says so: RATE_LIMIT_SESSION_PER_MINUTE"),
        ("localization.", "the language says so"),
        ("integrations.analytics", "Frontdesk has its own analytics, and the widget loads nothing from elsewhere"),
        ("integrations.", "the page's own scripts can send context: Frontdesk('context', …)"),
        ("accessibility.", "it is always accessible"),
        ("mobile.", "phones get the whole screen"),
    ];
    let found = SECTIONS.iter().find(|(section, _)| path.starts_with(section));
    found.map_or("there is no such thing here", |(_, why)| why)
}

/// `16px`, `16` or a number.
fn pixels(value: &Value) -> Option<u64> {
    let text = value.as_str().map(|text| text.trim().trim_end_matches("px").trim());
    text.map_or_else(|| value.as_u64(), |text| text.parse().ok())
}

fn radius(value: &Value, schema: &Schema) -> Fate {
    const TARGET: &[&str] = &["theme", "radius"];
    let most = schema.key("theme").and_then(|theme| theme.key("radius")).map_or(0, Schema::most) as u64;
    match pixels(value) {
        Some(pixels) if pixels > most => Fate::Nearly(TARGET, json!(most), format!("as {most}, which is the most")),
        Some(pixels) => Fate::As(TARGET, json!(pixels)),
        None => Fate::Nothing("it is not a number of pixels"),
    }
}

/// The widget has three widths.
fn size(value: &Value) -> Fate {
    let name = match pixels(value) {
        Some(..360) => "compact",
        Some(360..=440) => "normal",
        Some(_) => "large",
        None => return Fate::Nothing("it is not a number of pixels"),
    };
    Fate::Nearly(&["size"], json!(name), format!("{} is nearest to {name}", shown(value)))
}

/// The last of a list of fonts is of a kind.
fn font(value: &Value) -> Fate {
    let fonts = value.as_str().unwrap_or_default();
    let name = match fonts.rsplit(',').next().unwrap_or_default().trim() {
        "sans-serif" | "system-ui" | "ui-sans-serif" => "system",
        "serif" | "ui-serif" => "serif",
        "monospace" | "ui-monospace" => "mono",
        "ui-rounded" => "rounded",
        _ => return Fate::Nothing("it doesn't end in a kind of fonts such as sans-serif"),
    };
    Fate::Nearly(&["theme", "font"], json!(name), "only the kind: fonts are those of the visitor's system".to_owned())
}

/// A short one is a title, a longer one a text.
fn welcome(value: &Value, schema: &Schema) -> Fate {
    let title = schema.key("greeting").and_then(|greeting| greeting.key("title"));
    let fits = title.is_some_and(|title| title.takes(value));
    Fate::As(if fits { &["greeting", "title"] } else { &["greeting", "text"] }, value.clone())
}

fn topics(value: &Value, schema: &Schema) -> Fate {
    let Some(list) = value.as_array() else { return Fate::Nothing("it is not a list") };
    let topics = list.iter().map(|suggestion| {
        let mut topic = Map::new();
        for (from, to) in [("text", "label"), ("value", "message")] {
            if let Some(text) = suggestion.get(from) {
                topic.insert(to.to_owned(), text.clone());
            }
        }
        Value::Object(topic)
    });
    let schema = schema.key("topics");
    let most = schema.map_or(0, Schema::most);
    let fits = |topic: &Value| schema.and_then(Schema::entry).is_some_and(|schema| schema.takes(topic));
    let taken: Vec<Value> = topics.filter(fits).take(most).collect();
    let left = list.len() - taken.len();
    match left {
        0 => Fate::As(&["topics"], taken.into()),
        left => Fate::Nearly(
            &["topics"],
            taken.into(),
            format!("{left} left out: at most {most}, each with a `text` and a `value` that are not too long"),
        ),
    }
}
