//! Cleans the strings of a JSON text, keys too, and leaves everything else as it was written: numbers keep their
//! digits, members their order.

use serde_json::value::RawValue;

use super::told;

/// `json` with its strings cleaned as [`told`] does; the same one when there is nothing to clean.
pub(crate) fn told_json(json: Box<RawValue>) -> Box<RawValue> {
    let text = json.get();
    // What goes is no ASCII, or stands in JSON as an escape; but DEL may stand there as it is.
    if text.is_ascii() && !text.contains(['\\', '\u{7f}']) {
        return json;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let end = start + string_end(&rest[start..]);
        out.push_str(&rest[..start]);
        out.push_str(&string(&rest[start..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    RawValue::from_string(out).unwrap_or(json)
}

/// The bytes of the string that `text` begins with, both quotes included.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().enumerate().skip(1).find(|(_, byte)| {
        let over = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        over
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// One string, cleaned. As it was written when nothing goes: a form of its escapes is as good as another.
fn string(literal: &str) -> String {
    let Ok(text) = serde_json::from_str::<String>(literal) else { return literal.to_owned() };
    let clean = told(text.clone());
    if clean == text { literal.to_owned() } else { serde_json::to_string(&clean).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn cleaned(json: &str) -> String {
        told_json(RawValue::from_string(json.to_owned()).unwrap()).get().to_owned()
    }

    #[test]
    fn strings_are_cleaned_and_nothing_else_changes() {
        let check = |json: &str, expected: &str| assert_eq!(cleaned(json), expected, "{json}");
        for same in [
            r#"{"b":1.0,"a":12345678901234567890.000, "c" : [true,null,-0]}"#,
            r#"{"html":"<b>x</b>","path":"C:\\x\"","line":"a\nb\tc","slash":"\/"}"#,
            r#"{"emoji":"👩‍👧","farsi":"می‌خواهم","escaped":"\ud83d\ude00 \u00e9"}"#,
            "{}",
        ] {
            check(same, same);
        }
        check(r#"{"a":"x\u0000\u001by\r\n"}"#, r#"{"a":"xy\n"}"#);
        check("{\"a\u{202e}b\":[\"c\u{2066}d\",{\"e\\\"\u{200b}f\":1.50}]}", r#"{"ab":["cd",{"e\"f":1.50}]}"#);
        check(r#"{"a":"\\\u202e\\"}"#, r#"{"a":"\\\\"}"#);
        check("{\"a\":\"e\u{301}\"}", r#"{"a":"é"}"#);
        check("{\"a\":\"x\u{7f}y\"}", r#"{"a":"xy"}"#);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\\u{0}\u{202e}\u{200b}é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z\"\\\\]{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// What it should be, the slow way.
    fn expected(value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(told(text)),
            Value::Array(items) => items.into_iter().map(expected).collect(),
            Value::Object(members) => members.into_iter().map(|(key, value)| (told(key), expected(value))).collect(),
            other => other,
        }
    }

    proptest! {
        #[test]
        fn any_json_stays_that_json(value in json()) {
            let read: Value = serde_json::from_str(&cleaned(&value.to_string())).unwrap();
            prop_assert_eq!(read, expected(value));
        }
    }
}
