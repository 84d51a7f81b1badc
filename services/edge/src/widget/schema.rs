//! Checks JSON against the part of JSON Schema that `widget-config.schema.json` uses.
//!
//! The schema is the one place where keys and limits stand; editors read it, and so does this. A keyword that it doesn't
//! know stops [`Schema::new`], so none is silently without effect. All problems are found, not the first one alone.

use std::{collections::BTreeMap, fmt};

use regex::Regex;
use serde_json::{Map, Value};

/// What is wrong at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where, such as `topics[2].label`. Empty: the whole file.
    pub path: String,
    /// What was found, and what is allowed.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.what) } else { write!(f, "`{}` {}", self.path, self.what) }
    }
}

/// Looks away from, as only people and editors read them.
const REMARKS: [&str; 4] = ["$schema", "title", "description", "patternErrorMessage"];

/// What a value may be.
pub(super) struct Schema {
    /// Empty: only `words` say.
    kinds: Vec<Kind>,
    words: Vec<String>,
    /// Of characters, of entries, of keys; or of a number itself.
    least: Option<u64>,
    most: Option<u64>,
    pattern: Option<(Regex, String)>,
    required: Vec<String>,
    keys: BTreeMap<String, Schema>,
    /// Of the keys that are not named. None: there are no others.
    others: Option<Box<Schema>>,
    entries: Option<Box<Schema>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Switch,
    Number,
    List,
    Object,
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Switch),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            Value::Array(_) => Some(Self::List),
            Value::Object(_) => Some(Self::Object),
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::Text,
            "boolean" => Self::Switch,
            "integer" => Self::Number,
            "array" => Self::List,
            "object" => Self::Object,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Switch => "true or false",
            Self::Number => "a whole number",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

impl Schema {
    /// Reads a schema. The error names the keyword that is not known here, or has another form.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        let all = schema.as_object().ok_or("a schema is an object")?;
        let mut read = Self {
            kinds: Vec::new(),
            words: Vec::new(),
            least: None,
            most: None,
            pattern: None,
            required: Vec::new(),
            keys: BTreeMap::new(),
            others: None,
            entries: None,
        };
        for (keyword, value) in all {
            let known = match keyword.as_str() {
                "type" => texts(value).and_then(|names| {
                    read.kinds = names.iter().map(|name| Kind::named(name)).collect::<Option<_>>()?;
                    Some(())
                }),
                "enum" => texts(value).map(|words| read.words = words),
                "required" => texts(value).map(|keys| read.required = keys),
                "minLength" | "minimum" => value.as_u64().map(|least| read.least = Some(least)),
                "maxLength" | "maximum" | "maxItems" | "maxProperties" => {
                    value.as_u64().map(|most| read.most = Some(most))
                }
                "pattern" => value.as_str().and_then(|pattern| {
                    let message = all.get("patternErrorMessage").and_then(Value::as_str)?;
                    read.pattern = Some((Regex::new(pattern).ok()?, message.to_owned()));
                    Some(())
                }),
                "properties" => {
                    for (key, schema) in value.as_object().ok_or("properties: is not an object")? {
                        let schema = Self::new(schema).map_err(|error| format!("{key}: {error}"))?;
                        read.keys.insert(key.clone(), schema);
                    }
                    Some(())
                }
                "additionalProperties" if value == &Value::Bool(false) => Some(()),
                "additionalProperties" => {
                    read.others = Some(Box::new(Self::new(value)?));
                    Some(())
                }
                "items" => {
                    read.entries = Some(Box::new(Self::new(value)?));
                    Some(())
                }
                remark if REMARKS.contains(&remark) => Some(()),
                _ => None,
            };
            known.ok_or_else(|| format!("{keyword}: is not known here in this form"))?;
        }
        Ok(read)
    }

    /// The schema of a key, if there is such a key.
    pub(super) fn key(&self, name: &str) -> Option<&Self> {
        self.keys.get(name)
    }

    /// The largest length, number of entries, or number.
    pub(super) fn most(&self) -> usize {
        self.most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
    }

    /// Of a list.
    pub(super) fn entry(&self) -> Option<&Self> {
        self.entries.as_deref()
    }

    /// Whether a value is fine by itself, for who has to choose.
    pub(super) fn takes(&self, value: &Value) -> bool {
        self.problems(value).is_empty()
    }

    /// Everything that is wrong with a value.
    pub(super) fn problems(&self, value: &Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check(value, "", &mut problems);
        problems
    }

    fn check(&self, value: &Value, path: &str, problems: &mut Vec<Problem>) {
        let mut wrong = |what: String| problems.push(Problem { path: path.to_owned(), what });
        if !self.words.is_empty() {
            if !value.as_str().is_some_and(|word| self.words.iter().any(|it| it == word)) {
                let guess = or_nothing(value.as_str().and_then(|word| near(word, &self.words)));
                wrong(format!("is {}, and must be {}{guess}", shown(value), one_of(&self.words)));
            }
            return;
        }
        if !Kind::of(value).is_some_and(|kind| self.kinds.contains(&kind)) {
            let allowed: Vec<&str> = self.kinds.iter().map(|kind| kind.word()).collect();
            return wrong(format!("is {}, and must be {}", shown(value), allowed.join(" or ")));
        }
        let (least, most) = (self.least.unwrap_or(0), self.most.unwrap_or(u64::MAX));
        match value {
            Value::String(text) => {
                let length = text.chars().count() as u64;
                if length < least {
                    wrong("is empty; leave it out instead".to_owned());
                } else if length > most {
                    wrong(format!("has {length} characters, and may have {most}"));
                } else if let Some((pattern, message)) = &self.pattern
                    && !pattern.is_match(text)
                {
                    wrong(format!("is {}, and {message}", shown(value)));
                }
            }
            Value::Number(number) if !number.as_u64().is_some_and(|number| (least..=most).contains(&number)) => {
                wrong(format!("is {number}, and must be a whole number from {least} to {most}"));
            }
            Value::Array(list) if list.len() as u64 > most => {
                wrong(format!("has {} entries, and may have {most}", list.len()));
            }
            Value::Array(list) => {
                let Some(schema) = &self.entries else { return };
                for (at, value) in list.iter().enumerate() {
                    schema.check(value, &format!("{path}[{at}]"), problems);
                }
            }
            Value::Object(object) if object.len() as u64 > most => {
                wrong(format!("has {} keys, and may have {most}", object.len()));
            }
            Value::Object(object) => self.check_keys(object, path, problems),
            _ => {}
        }
    }

    fn check_keys(&self, object: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) {
        for key in self.required.iter().filter(|key| !object.contains_key(key.as_str())) {
            problems.push(Problem { path: below(path, key), what: "is missing".to_owned() });
        }
        for (key, value) in object {
            let path = below(path, key);
            match self.keys.get(key).or(self.others.as_deref()) {
                Some(schema) => schema.check(value, &path, problems),
                None => {
                    let keys: Vec<String> = self.keys.keys().filter(|key| !key.starts_with('$')).cloned().collect();
                    let guess = or_nothing(near(key, &keys));
                    problems
                        .push(Problem { path, what: format!("is no key here; there are {}{guess}", keys.join(", ")) });
                }
            }
        }
    }
}

/// A name below a path.
pub(super) fn below(path: &str, key: &str) -> String {
    // What somebody else wrote goes into a terminal and a log.
    let key: String = key.chars().filter(|c| !c.is_control()).take(60).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// The word that was meant, if one is near.
pub(super) fn near(word: &str, words: &[String]) -> Option<String> {
    let lower = word.to_lowercase();
    let close = words.iter().map(|it| (strsim::jaro_winkler(&lower, it), it)).filter(|(close, _)| *close > 0.85);
    close.max_by(|one, two| one.0.total_cmp(&two.0)).map(|(_, word)| word.clone())
}

fn or_nothing(guess: Option<String>) -> String {
    guess.map(|guess| format!(" (did you mean {guess}?)")).unwrap_or_default()
}

fn one_of(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// A value, short enough for a sentence.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.chars().count() > 60 => {
            Value::String(text.chars().take(57).chain("…".chars()).collect()).to_string()
        }
        other => other.to_string(),
    }
}

/// One text, or a list of them.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}
