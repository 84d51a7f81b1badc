//! The tag that puts the widget on a shop's pages.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use runtime::asset::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384};
use url::Url;

use super::{Config, embedded};
use crate::assets::{EMBED, embed};

/// The tag in two forms.
#[derive(Debug, serde::Serialize)]
pub struct Snippet {
    /// Follows this Frontdesk when it is updated.
    pub evergreen: String,
    /// Of this very version; browsers refuse any other. It must be changed with each update.
    pub pinned: String,
}

impl Snippet {
    /// For a site of the Frontdesk at `base`. What the launcher must know before the chat is opened stands on the tag.
    pub fn new(base: &Url, site: Option<&str>, config: &Config) -> Self {
        let base = base.as_str().trim_end_matches('/');
        let delay = config.at(&["proactive", "after_seconds"]).map(Value::to_string);
        let pages = config
            .at(&["proactive", "pages"])
            .and_then(Value::as_array)
            .map(|pages| pages.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        let known = [
            ("site", site),
            ("color", config.text(&["theme", "accent"])),
            ("theme", config.text(&["theme", "mode"]).filter(|mode| *mode != "auto")),
            ("side", config.text(&["side"]).filter(|side| *side != "end")),
            ("locale", config.text(&["locale"])),
            ("consent", config.text(&["consent"]).filter(|consent| *consent != "none")),
            ("greeting", config.text(&["proactive", "text"])),
            ("greeting-delay", delay.as_deref()),
            ("greeting-pages", pages.as_deref().filter(|pages| !pages.is_empty())),
        ];
        let said = launcher_says(config);
        let said = said.iter().map(|(name, text)| (*name, Some(text.as_str())));
        let known: Vec<(&str, Option<&str>)> = known.into_iter().chain(said).collect();
        let written = known.iter().filter_map(|(name, value)| value.map(|value| (name, attribute(value))));
        let data: String = written.map(|(name, value)| format!(" data-{name}=\"{value}\"")).collect();
        let script = embed();
        // Both say the same: the address, which is for ever, and what the browser compares.
        let (hash, integrity) = (hex(&Sha256::digest(&script)), STANDARD.encode(Sha384::digest(&script)));
        let (base, data) = (attribute(base), data.as_str());
        Self {
            evergreen: format!("<script src=\"{base}/widget/{EMBED}\" async{data}></script>"),
            pinned: format!(
                "<script src=\"{base}/widget/v/{hash}/{EMBED}\" integrity=\"sha384-{integrity}\" \
                 crossorigin=\"anonymous\" async{data}></script>"
            ),
        }
    }
}

/// What the launcher says before anything is loaded, by its attribute, where that is not its own English.
fn launcher_says(config: &Config) -> Vec<(&'static str, String)> {
    let language = config.text(&["locale"]).and_then(|locale| locale.split('-').next()).unwrap_or("en");
    let (sentences, english) = (sentences_of(language), sentences_of("en"));
    // A link follows what could not be loaded.
    let words = [("label", "chat", ""), ("dismiss", "dismiss", ""), ("failed", "not_loaded", " ")];
    let said = words.iter().filter_map(|(name, key, end)| {
        let text = config.text(&["texts", key]).or_else(|| sentences.get(key)?.as_str())?;
        let own = english.get(key).and_then(Value::as_str);
        (own != Some(text)).then(|| (*name, format!("{text}{end}")))
    });
    said.collect()
}

/// Of a language that the widget speaks, which the check of a configuration has made sure of.
fn sentences_of(language: &str) -> Value {
    embedded(&format!("locales/{}.json", language.to_ascii_lowercase()))
}

/// A text between quotes in HTML.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}
