//! What is taken of a token's claims: few, small, and as the shop signed them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

/// The whole identity as JSON, in bytes. It travels in the session's token.
const MAX_BYTES: usize = 1024;
/// A text, in characters.
const MAX_TEXT: usize = 256;
/// Texts in a list.
const MAX_LIST: usize = 32;
/// Beyond, n8n's JavaScript would show another number than the shop signed.
const MAX_NUMBER: f64 = 9_007_199_254_740_991.0;

/// All claims of a token. One that stands there twice is refused (RFC 7519, section 4): readers differ in which counts.
pub(crate) struct Claims(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim stands there twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

/// The identity: `sub`, and those of the `allowed` claims that are plain and fit, in this order, until it is full.
pub(crate) fn pick(sub: &str, claims: &Map<String, Value>, allowed: &[String]) -> Box<RawValue> {
    let mut picked = Map::from_iter([("sub".to_owned(), Value::from(sub))]);
    let mut size = length(&picked);
    for name in allowed {
        let Some(value) = claims.get(name).filter(|value| is_plain(value)) else { continue };
        let more = length(name) + length(value) + ",:".len();
        if size + more <= MAX_BYTES {
            size += more;
            picked.insert(name.clone(), value.clone());
        }
    }
    serde_json::value::to_raw_value(&picked).expect("texts, numbers and lists of texts serialize")
}

fn length(value: &(impl serde::Serialize + ?Sized)) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 4, |json| json.len())
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() <= MAX_NUMBER),
        Value::String(text) => is_text(text, MAX_TEXT),
        Value::Array(list) => {
            list.len() <= MAX_LIST && list.iter().all(|item| item.as_str().is_some_and(|text| is_text(text, MAX_TEXT)))
        }
        Value::Null | Value::Object(_) => false,
    }
}

/// At most `max` characters, none of which is a control.
pub(crate) fn is_text(text: &str, max: usize) -> bool {
    text.chars().count() <= max && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_stands_there_once() {
        let check = |json: &str, good: bool| assert_eq!(serde_json::from_str::<Claims>(json).is_ok(), good, "{json}");
        check(r#"{"sub":"a","name":"Ada"}"#, true);
        check(r#"{"sub":"a","sub":"b"}"#, false);
        check(r#"{"sub":"a","sub":"a"}"#, false);
        check(r#"{"sub":"a","s\u0075b":"b"}"#, false);
        check(r#"{"name":"a","x":1,"name":"b"}"#, false);
        check(r#"{"x":{"a":1,"a":2}}"#, true);
        check("[]", false);
        check("null", false);
    }

    #[test]
    fn few_small_claims_are_taken() {
        let allowed: Vec<String> = ["name", "vip", "scope", "age"].map(str::to_owned).into();
        let check = |claims: Value, expected: Value| {
            let picked = pick("c-1", claims.as_object().unwrap(), &allowed);
            assert_eq!(serde_json::from_str::<Value>(picked.get()).unwrap(), expected, "{claims}");
        };
        let only = json!({"sub": "c-1"});
        let all = json!({"name": "Ada \"X\" <3", "vip": true, "scope": ["orders", "returns"], "age": 36.5});
        let mut expected = all.clone();
        expected["sub"] = json!("c-1");
        check(all, expected);
        check(json!({"role": "admin", "sub": "c-2", "Name": "Ada"}), only.clone());
        check(json!({"name": null, "vip": {"level": 1}, "scope": [1], "age": [["a"]]}), only.clone());
        check(json!({"name": "a\nb", "scope": ["a\u{7}"], "vip": "\u{85}"}), only.clone());
        check(json!({"name": "x".repeat(256)}), json!({"sub": "c-1", "name": "x".repeat(256)}));
        check(json!({"name": "x".repeat(257), "scope": vec!["a"; 33]}), only.clone());
        check(json!({"age": 9_007_199_254_740_991_u64}), json!({"sub": "c-1", "age": 9_007_199_254_740_991_u64}));
        check(json!({"age": 9_007_199_254_740_993_u64, "vip": -1e300}), only);
    }

    /// What does not fit any more is left out; what is smaller and comes after it is still taken.
    #[test]
    fn the_whole_is_bounded() {
        let allowed: Vec<String> = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).into();
        // Escaped, each takes twice its length.
        let long = "\"".repeat(200);
        let claims = json!({"a": long, "b": long, "c": long, "d": "small", "e": long, "f": true});
        let picked = pick(&"s".repeat(128), claims.as_object().unwrap(), &allowed);
        assert!(picked.get().len() <= MAX_BYTES, "{}", picked.get().len());
        let picked: Value = serde_json::from_str(picked.get()).unwrap();
        let names: Vec<&String> = picked.as_object().unwrap().keys().collect();
        assert_eq!(names, ["a", "b", "d", "f", "sub"]);
        // As full as can be.
        let allowed: Vec<String> = (0..400).map(|n| format!("c{n}")).collect();
        let claims: Map<String, Value> = allowed.iter().map(|name| (name.clone(), json!("x".repeat(7)))).collect();
        let size = pick("c-1", &claims, &allowed).get().len();
        assert!((MAX_BYTES - 16..=MAX_BYTES).contains(&size), "{size}");
    }
}
