//! What the stand-in answers, step by step.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use protocol::Millis;
use tokio_util::sync::CancellationToken;

/// Holds an answer until a test opens it. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(CancellationToken);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens it, for good.
    pub fn open(&self) {
        self.0.cancel();
    }

    pub(super) async fn opened(&self) {
        self.0.cancelled().await;
    }
}

/// One answer: a status, headers and steps. Begin with [`Script::lines`] or one of the others, add steps in order.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Before the status line.
    pub(super) before: Vec<Step>,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// One HTTP chunk, flushed before the next step.
    Bytes(Bytes),
    Pause(Duration),
    Wait(Gate),
    Hang,
    /// Close the connection without the last chunk.
    Cut,
    /// Close it with a TCP reset.
    Reset,
}

impl Script {
    /// An empty body of this type.
    pub fn of(status: u16, content_type: &str) -> Self {
        let mut script = Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
            headers: Vec::new(),
            before: Vec::new(),
            steps: Vec::new(),
        };
        if !content_type.is_empty() {
            script = script.header(header::CONTENT_TYPE.as_str(), content_type);
        }
        script
    }

    /// A streaming workflow: n8n's status and headers, no line yet.
    pub fn lines() -> Self {
        Self::of(200, "application/json; charset=utf-8").header("cache-control", "no-cache")
    }

    /// A whole streamed answer: `begin`, these items, `end`.
    pub fn says<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        Self::lines().begin().items(items).end()
    }

    /// A workflow that answers at its end, with JSON.
    pub fn json(body: &str) -> Self {
        Self::of(200, "application/json; charset=utf-8").bytes(body.to_owned())
    }

    /// Respond to Webhook with text, which n8n calls HTML.
    pub fn text(body: &str) -> Self {
        Self::of(200, "text/html; charset=utf-8").bytes(body.to_owned())
    }

    /// n8n in its first seconds.
    pub fn starting() -> Self {
        Self::text("n8n is starting up. Please wait")
    }

    /// n8n in the seconds after: a 404 with the page of its editor.
    pub fn not_loaded() -> Self {
        Self::of(404, "text/html; charset=utf-8")
            .bytes("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")
    }

    /// Adds a header; one that HTTP forbids is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            self.headers.push((name, value));
        }
        self
    }

    /// Waits with everything, status and headers too, until the gate opens.
    #[must_use]
    pub fn hold(mut self, gate: &Gate) -> Self {
        self.before.push(Step::Wait(gate.clone()));
        self
    }

    /// Never answers.
    pub fn silence() -> Self {
        let mut script = Self::lines();
        script.before.push(Step::Hang);
        script
    }

    /// Takes the request, then resets the connection without a word.
    pub fn hangs_up() -> Self {
        let mut script = Self::lines();
        script.before.push(Step::Reset);
        script
    }

    /// A `begin` line.
    #[must_use]
    pub fn begin(self) -> Self {
        self.bytes(line("begin", None))
    }

    /// An `item` line for each.
    #[must_use]
    pub fn items<'a>(self, items: impl IntoIterator<Item = &'a str>) -> Self {
        items.into_iter().fold(self, |script, item| script.bytes(line("item", Some(item))))
    }

    /// An `end` line.
    #[must_use]
    pub fn end(self) -> Self {
        self.bytes(line("end", None))
    }

    /// An `error` line with this content.
    #[must_use]
    pub fn error(self, content: &str) -> Self {
        self.bytes(line("error", Some(content)))
    }

    /// A `keepalive` line.
    #[must_use]
    pub fn keepalive(self) -> Self {
        self.bytes(line("keepalive", None))
    }

    /// These bytes, as one HTTP chunk.
    #[must_use]
    pub fn bytes(self, bytes: impl Into<Bytes>) -> Self {
        self.step(Step::Bytes(bytes.into()))
    }

    /// Waits this long.
    #[must_use]
    pub fn pause(self, time: Duration) -> Self {
        self.step(Step::Pause(time))
    }

    /// Waits for the gate.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.step(Step::Wait(gate.clone()))
    }

    /// Says nothing more, and leaves the connection open.
    #[must_use]
    pub fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// Closes the connection in the middle of the body, as a killed n8n does.
    #[must_use]
    pub fn cut(self) -> Self {
        self.step(Step::Cut)
    }

    /// Resets the connection in the middle of the body.
    #[must_use]
    pub fn reset(self) -> Self {
        self.step(Step::Reset)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// A line of n8n's, its fields in n8n's order, as long as n8n's own so that benches move as many bytes.
fn line(kind: &str, content: Option<&str>) -> String {
    let content = content.map(|text| format!(",\"content\":{}", serde_json::Value::from(text))).unwrap_or_default();
    let metadata = match kind {
        "keepalive" => String::new(),
        // Has no time, and the two indexes the other way round.
        "error" => format!(",\"metadata\":{{{NODE},\"runIndex\":0,\"itemIndex\":0}}"),
        _ => {
            let now = Millis::now().0;
            format!(",\"metadata\":{{{NODE},\"itemIndex\":0,\"runIndex\":0,\"timestamp\":{now}}}")
        }
    };
    format!("{{\"type\":\"{kind}\"{content}{metadata}}}\n")
}

const NODE: &str = "\"nodeId\":\"f05c68b6-11ab-557f-9e29-27250c13f2ef\",\"nodeName\":\"Agent\"";

#[cfg(test)]
mod tests {
    use super::*;

    /// Word for word what real n8n wrote, but for the time.
    #[test]
    fn lines_look_like_n8ns() {
        let check = |kind: &str, content: Option<&str>, expected: &str| {
            let line = line(kind, content);
            let timeless = line.split_once(",\"timestamp\"").map_or(line.as_str(), |(before, _)| before);
            assert_eq!(timeless, expected);
        };
        const META: &str = r#","metadata":{"nodeId":"f05c68b6-11ab-557f-9e29-27250c13f2ef","nodeName":"Agent","#;
        check("begin", None, &format!(r#"{{"type":"begin"{META}"itemIndex":0,"runIndex":0"#));
        check(
            "item",
            Some("a\n\"b"),
            &format!(r#"{{"type":"item","content":"a\n\"b"{META}"itemIndex":0,"runIndex":0"#),
        );
        check("error", None, &format!("{{\"type\":\"error\"{META}\"runIndex\":0,\"itemIndex\":0}}}}\n"));
        check("keepalive", None, "{\"type\":\"keepalive\"}\n");
        assert_eq!(line("item", Some("tok1 ")).len(), 167);
    }
}
