//! The JSON forms that processes of different versions exchange during a rolling deploy are frozen: each fixture must
//! be read, and written back byte for byte.

use protocol::{Charges, Counts, CountsAsk, Event, Fact, Message, Record};
use serde::{Serialize, de::DeserializeOwned};

fn check<T: Serialize + DeserializeOwned>(line: &str) {
    let value: T = serde_json::from_str(line).expect("the fixture is of this type");
    assert_eq!(serde_json::to_string(&value).expect("plain data"), line);
}

#[test]
fn every_fixture_is_read_and_written_back_unchanged() {
    check::<Message>(include_str!("../fixtures/message.json").trim_end());
    check::<Record>(include_str!("../fixtures/record.json").trim_end());
    check::<Record>(include_str!("../fixtures/record-ended.json").trim_end());
    check::<Record>(include_str!("../fixtures/record-late.json").trim_end());
    include_str!("../fixtures/facts.jsonl").lines().for_each(check::<Fact>);
    include_str!("../fixtures/charges.jsonl").lines().for_each(check::<Charges>);
    check::<CountsAsk>(include_str!("../fixtures/counts-ask.json").trim_end());
    include_str!("../fixtures/counts.jsonl").lines().for_each(check::<Counts>);
    for line in include_str!("../fixtures/events.jsonl").lines() {
        let event: Event<'_> = serde_json::from_str(line).expect("the fixture is an event");
        assert_eq!(serde_json::to_string(&event).expect("plain data"), line);
    }
}

#[test]
fn debug_forms_show_no_text() {
    let message: Message = serde_json::from_str(include_str!("../fixtures/message.json")).expect("a message");
    let record: Record = serde_json::from_str(include_str!("../fixtures/record.json")).expect("a record");
    let facts = include_str!("../fixtures/facts.jsonl").lines();
    let facts: Vec<Fact> = facts.map(|fact| serde_json::from_str(fact).expect("a fact")).collect();
    let shown = format!("{message:?} {:?} {record:?} {facts:?}", message.history);
    for secret in ["parcel", "eyJ", "Hello", "there", "Mozilla", "cart", "plan", "c-17", "Ada", "Half of it"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
