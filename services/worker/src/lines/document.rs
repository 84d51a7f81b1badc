//! A body that is one document: a workflow's last node, Respond to Webhook, or something that is not the workflow at
//! all.

use std::borrow::Cow;

use protocol::FailureCode;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Outcome;

/// Where a JSON reply keeps its text, the first that is there wins.
const TEXT_KEYS: [&str; 7] = ["output", "text", "message", "response", "answer", "content", "reply"];

/// What n8n answers when its webhook is set to respond at once: no reply will come this way.
const STARTED: &str = "Workflow was started";

/// What n8n answers to every webhook in its first seconds, with status 200.
const STARTING: &str = "n8n is starting up";

/// What the `Content-Type` says, as far as it matters. It only decides where the bytes leave a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON, or lines of it.
    Json,
    /// Text of any kind, HTML too: Respond to Webhook calls its plain text `text/html`.
    Text,
    /// Not said.
    Missing,
    /// Pictures, archives, event streams: nothing that a visitor can read.
    Other,
}

impl Media {
    /// Reads a `Content-Type`.
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "" => Self::Missing,
            "application/json" | "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "text/json" => {
                Self::Json
            }
            "text/event-stream" => Self::Other,
            other if other.starts_with("text/") => Self::Text,
            other if other.ends_with("+json") => Self::Json,
            _ => Self::Other,
        }
    }
}

/// Whether `text` is a web page: what proxies and n8n's editor answer when the workflow can't. A reply may hold some
/// HTML, and may talk about `<html>`; a page begins with markup and says that it is one.
pub fn looks_like_page(text: &str) -> bool {
    let text = text.trim_start();
    if !text.starts_with('<') {
        return false;
    }
    let head = text.get(..text.floor_char_boundary(1024)).unwrap_or_default().to_ascii_lowercase();
    ["<!doctype html", "<html", "<head>", "<body"].iter().any(|mark| head.contains(mark))
}

/// The text of a whole document.
pub(super) fn read(bytes: &[u8], media: Media) -> Result<Cow<'_, str>, Outcome> {
    let bytes = bytes.trim_ascii();
    let Some(first) = bytes.first() else {
        return Err(Outcome::Failed(FailureCode::UpstreamEmpty));
    };
    let text = String::from_utf8_lossy(bytes);
    if text.starts_with(STARTING) {
        return Err(Outcome::Starting);
    }
    if looks_like_page(&text) {
        return Err(Outcome::Failed(FailureCode::UpstreamUnreachable));
    }
    match media {
        Media::Other => Err(Outcome::Failed(FailureCode::UpstreamInvalid)),
        Media::Json => from_json(&text).unwrap_or(Err(Outcome::Failed(FailureCode::UpstreamInvalid))).map(Cow::Owned),
        // JSON that a node calls text is JSON all the same; what only begins like it is text.
        Media::Text | Media::Missing if matches!(first, b'{' | b'[') => match from_json(&text) {
            Some(read) => read.map(Cow::Owned),
            None => Ok(text),
        },
        Media::Text | Media::Missing => Ok(text),
    }
}

/// `None`: not JSON.
fn from_json(text: &str) -> Option<Result<String, Outcome>> {
    let value = serde_json::from_str::<Value<'_>>(text).ok()?;
    Some(match value.plain.or(value.found) {
        Some(text) if !text.is_empty() => Ok(text.into_owned()),
        Some(_) => Err(Outcome::Failed(FailureCode::UpstreamEmpty)),
        None if value.started => Err(Outcome::Started),
        None => Err(Outcome::Failed(FailureCode::UpstreamInvalid)),
    })
}

/// What matters of a JSON value. Everything else is skipped, not stored: a tree of a few megabytes of JSON would take a
/// hundred.
#[derive(Default)]
struct Value<'a> {
    /// The value is this string.
    plain: Option<Cow<'a, str>>,
    /// The text that was found in the object or array.
    found: Option<Cow<'a, str>>,
    /// It is n8n's word that the workflow runs, and nothing else.
    started: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value { plain: Some(Cow::Borrowed(text)), ..Value::default() })
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value { plain: Some(Cow::Owned(text.to_owned())), ..Value::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut texts: [Option<Cow<'de, str>>; TEXT_KEYS.len()] = Default::default();
        let (mut data, mut json, mut fields, mut started) = (None, None, 0_usize, false);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            fields = fields.saturating_add(1);
            if let Some(slot) = TEXT_KEYS.iter().position(|name| *name == key).and_then(|rank| texts.get_mut(rank)) {
                *slot = map.next_value::<Value<'de>>()?.plain;
                started = key == "message" && slot.as_deref() == Some(STARTED);
            } else if key == "data" {
                data = map.next_value::<Value<'de>>()?.found;
            } else if key == "json" {
                json = map.next_value::<Value<'de>>()?.found;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        // An empty text gives way to a full one, and is better than none: "empty" is a truer failure than "invalid".
        let candidates = || texts.iter().flatten().chain(&data).chain(&json);
        let found = candidates().find(|text| !text.is_empty()).or_else(|| candidates().next()).cloned();
        let started = started && fields == 1;
        Ok(Value { plain: None, found: found.filter(|_| !started), started })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let first = seq.next_element::<Value<'de>>()?.unwrap_or_default();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value { found: first.plain.or(first.found), ..Value::default() })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::default())
    }
}
