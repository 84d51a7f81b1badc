//! What each role needs of NATS: one thing for each right of `nats/nats-server.conf`, in that file's words.
//!
//! Each is tried as it stands, in a way that changes nothing: the server looks at the right first.

/// A right, and how it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Writes into this stream. Tried with a message that names another stream, which this one must refuse.
    Write(&'static str, &'static str),
    /// Says something to whoever listens: tried with what nobody understands, to nobody that is there.
    Say(&'static str),
    /// Asks the API of JetStream, and gets an answer: this is the question.
    Ask(&'static str, &'static str),
    /// Tells the API of JetStream to do something: tried with what is no request.
    Tell(&'static str),
    /// Listens.
    Listen(&'static str),
}
use Need::{Ask, Listen, Say, Tell, Write};

impl Need {
    /// As the configuration of nats-server has it.
    pub(super) fn right(self) -> &'static str {
        let (Write(right, _) | Say(right) | Ask(right, _) | Tell(right) | Listen(right)) = self;
        right
    }

    /// A subject that the right covers, and that is nobody's.
    pub(super) fn subject(self) -> String {
        match self {
            // A role listens to all of them at once, and the server asks for a right to exactly that.
            Listen(right) => right.to_owned(),
            _ => self.right().replace(['*', '>'], "doctor"),
        }
    }

    /// As it is said to people.
    pub(super) fn told(self) -> String {
        let does = if matches!(self, Listen(_)) { "subscribe to" } else { "publish to" };
        format!("{does} {}", self.right())
    }
}

const ABOUT_SNAP: Need = Ask("$JS.API.STREAM.INFO.SNAP", "");
const LAST: &str = r#"{"last_by_subj":"doctor"}"#;

const EDGE: &[Need] = &[
    Write("chat.req.*", "REQ"),
    Write("chat.snap.*", "SNAP"),
    Say("chat.ask.*"),
    Say("chat.ctl.*"),
    Say("chat.ev.*"),
    Write("chat.end.*", "ENDED"),
    Write("proof.*", "PROOF"),
    Say("limit.charge.*"),
    Say("limit.snapshot"),
    Write("fact.*.*", "FACTS"),
    ABOUT_SNAP,
    Ask("$JS.API.DIRECT.GET.SNAP.chat.snap.*", ""),
    Ask("$JS.API.STREAM.MSG.GET.SNAP", LAST),
    Ask("$JS.API.STREAM.MSG.GET.REQ", LAST),
    Tell("$JS.API.STREAM.MSG.DELETE.REQ"),
    Ask("$JS.API.STREAM.MSG.GET.ENDED", LAST),
    Listen("chat.ev.*"),
    Listen("chat.end.*"),
    Listen("limit.charge.*"),
    Listen("status.worker.*"),
    Listen("status.analytics.*"),
];

const WORKER: &[Need] = &[
    Say("chat.ev.*"),
    Say("chat.ask.*"),
    Write("chat.snap.*", "SNAP"),
    Say("status.worker.*"),
    Write("fact.*.reply_ended", "FACTS"),
    Write("fact.*.reply_failed", "FACTS"),
    ABOUT_SNAP,
    Ask("$JS.API.DIRECT.GET.SNAP.chat.snap.*", ""),
    Ask("$JS.API.STREAM.MSG.GET.SNAP", LAST),
    // Without a place for the answer it takes no message.
    Tell("$JS.API.CONSUMER.MSG.NEXT.REQ.workers"),
    Ask("$JS.API.CONSUMER.INFO.REQ.workers", ""),
    Tell("$JS.ACK.REQ.workers.>"),
    Tell("$JS.ACK.*.*.REQ.workers.>"),
    Listen("chat.ask.*"),
    Listen("chat.ctl.*"),
    Listen("status.worker.*"),
];

const ANALYTICS: &[Need] = &[
    // Edges take it for a sign of life, and see analytics for three seconds.
    Say("status.analytics.*"),
    ABOUT_SNAP,
    Ask("$JS.API.CONSUMER.INFO.FACTS.recorder", ""),
    Tell("$JS.API.CONSUMER.MSG.NEXT.FACTS.recorder"),
    Tell("$JS.ACK.FACTS.recorder.>"),
    Tell("$JS.ACK.*.*.FACTS.recorder.>"),
    Listen("limit.charge.*"),
    Listen("limit.snapshot"),
];

/// `$JS.API.STREAM.DELETE.PROOF` is not tried: a server that understood it would do it.
const ADMIN: &[Need] = &[
    Ask("$JS.API.STREAM.INFO.*", ""),
    Tell("$JS.API.STREAM.CREATE.*"),
    Tell("$JS.API.STREAM.UPDATE.*"),
    Tell("$JS.API.CONSUMER.CREATE.REQ.workers"),
    Tell("$JS.API.CONSUMER.CREATE.FACTS.recorder"),
];

pub(super) fn of(role: &str) -> &'static [Need] {
    match role {
        "edge" => EDGE,
        "worker" => WORKER,
        "analytics" => ANALYTICS,
        _ => ADMIN,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The rights of a role in the shipped configuration: what stands in quotes in its `allow` lists.
    fn granted(role: &str) -> BTreeSet<String> {
        let shipped = include_str!("../../../../../nats/nats-server.conf");
        let from = shipped.split_once(&format!("\n{role} {{\n")).expect("each role has a part").1;
        let part = from.split_once("\n}\n").expect("it ends").0;
        let mut rights = BTreeSet::new();
        for list in part.split("allow: [").skip(1) {
            let list = list.split_once(']').expect("it ends").0;
            for line in list.lines() {
                let line = line.split_once('#').map_or(line, |(line, _)| line);
                rights.extend(line.split('"').skip(1).step_by(2).map(str::to_owned));
            }
        }
        rights
    }

    #[test]
    fn each_right_is_tried() {
        for role in ["edge", "worker", "analytics", "admin"] {
            let mut granted = granted(&role.to_uppercase());
            assert!(granted.len() > 4, "{role}: {granted:?}");
            // Each answer comes by it.
            assert!(granted.remove(&format!("_INBOX.{role}.>")), "{role}");
            granted.remove("$JS.API.STREAM.DELETE.PROOF");
            let tried: BTreeSet<String> = of(role).iter().map(|need| need.right().to_owned()).collect();
            assert_eq!(tried, granted, "{role}");
        }
    }

    #[test]
    fn nobody_is_there_where_it_is_tried() {
        assert_eq!(Write("chat.req.*", "REQ").subject(), "chat.req.doctor");
        assert_eq!(Tell("$JS.ACK.*.*.REQ.workers.>").subject(), "$JS.ACK.doctor.doctor.REQ.workers.doctor");
        assert_eq!(Listen("chat.ev.*").subject(), "chat.ev.*");
    }
}
