//! The tag that puts the widget on a shop's pages.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use runtime::asset::hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384};
use url::Url;

use super::Config;
use crate::assets::served;

const SCRIPT: &str = "embed.js";

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
        let written = known.iter().filter_map(|(name, value)| value.map(|value| (name, attribute(value))));
        let data: String = written.map(|(name, value)| format!(" data-{name}=\"{value}\"")).collect();
        let script = served(SCRIPT).unwrap_or_default();
        // Both say the same: the address, which is for ever, and what the browser compares.
        let (hash, integrity) = (hex(&Sha256::digest(&script)), STANDARD.encode(Sha384::digest(&script)));
        let (base, data) = (attribute(base), data.as_str());
        Self {
            evergreen: format!("<script src=\"{base}/widget/{SCRIPT}\" async{data}></script>"),
            pinned: format!(
                "<script src=\"{base}/widget/v/{hash}/{SCRIPT}\" integrity=\"sha384-{integrity}\" \
                 crossorigin=\"anonymous\" async{data}></script>"
            ),
        }
    }
}

/// A text between quotes in HTML.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}
