//! Scripts by markers in the visitor's text, for tests and benches in other processes, which can't hand over a
//! [`Script`].

use std::time::Duration;

use super::script::Script;

/// A token each; more would only cost memory.
const MOST_TOKENS: u64 = 100_000;

/// What the text asks for: the table at [`super::Demo::scripted`].
pub(super) fn script(text: &str) -> Script {
    let number = |name: &str| marker(text, name).and_then(|value| value.parse::<u64>().ok());
    let has = |name: &str| marker(text, name).is_some();

    if let Some(status) = number("status") {
        let status = u16::try_from(status).unwrap_or(500);
        let body = format!("{{\"code\":{status},\"message\":\"Error in workflow\",\"stacktrace\":\"/n8n/secret.js\"}}");
        return Script::of(status, "application/json; charset=utf-8").bytes(body);
    }
    if has("json") {
        return Script::json(r#"{"output":"tok1 tok2 tok3 "}"#);
    }
    if has("html") {
        return Script::text("<!DOCTYPE html><html><body>Bad gateway at 10.0.0.7</body></html>");
    }
    if has("starting") {
        return Script::starting();
    }
    if has("empty") {
        return Script::lines();
    }
    if has("error") && number("error").is_none() {
        return Script::lines().error("The model's key sk-secret is wrong");
    }

    let stops = ["die", "reset", "hang", "error"].into_iter().find_map(|name| number(name).map(|at| (name, at)));
    let tokens = stops.map_or_else(|| number("n").unwrap_or(3), |(_, at)| at).min(MOST_TOKENS);
    let delay = number("delay").filter(|delay| *delay > 0).map(Duration::from_millis);
    let mut script = Script::lines().begin();
    if let Some(size) = number("size") {
        let size = usize::try_from(size.min(16 << 20)).unwrap_or_default();
        script = script.items(["x".repeat(size).as_str()]);
    } else {
        for token in 1..=tokens {
            if let Some(delay) = delay {
                script = script.pause(delay);
            }
            script = script.items([format!("tok{token} ").as_str()]);
        }
    }
    match stops {
        Some(("die", _)) => script.cut(),
        Some(("reset", _)) => script.reset(),
        Some(("hang", _)) => script.hang(),
        Some(_) => script.error("Original error: TypeError"),
        None => script.end(),
    }
}

/// The value of `[[name=value]]`, empty for `[[name]]`.
fn marker<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split("[[").skip(1).filter_map(|rest| rest.split_once("]]")).find_map(|(inside, _)| {
        let (key, value) = inside.split_once('=').unwrap_or((inside, ""));
        (key == name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_found_in_any_text() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(marker(text, "n"), expected, "{text}");
        check("[[n=20]]", Some("20"));
        check("hello [[delay=5]] [[n=20]] there", Some("20"));
        check("[[n]]", Some(""));
        check("[[nn=20]]", None);
        check("[[n=20", None);
        check("[n=20]", None);
        check("", None);
    }
}
