//! Whether a stream or a consumer is as `frontdesk nats-setup` would make it. What is not asked for may be anything.

use std::fmt::Debug;

use async_nats::jetstream::{consumer, stream};

/// A stream or consumer that is otherwise than these settings want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub of: String,
    /// Each point: what it is, and what it should be.
    pub points: Vec<String>,
}

/// Collects points.
struct Points(Vec<String>);

impl Points {
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, is: &T, wanted: &T) {
        if is != wanted {
            self.0.push(format!("{what} is {is:?}, not {wanted:?}"));
        }
    }

    fn of(self, name: &str) -> Option<Difference> {
        (!self.0.is_empty()).then(|| Difference { of: name.to_owned(), points: self.0 })
    }
}

pub(super) fn of_stream(is: &stream::Config, wanted: &stream::Config) -> Option<Difference> {
    let mut points = Points(Vec::new());
    points.compare("subjects", &is.subjects, &wanted.subjects);
    points.compare("storage", &is.storage, &wanted.storage);
    points.compare("retention", &is.retention, &wanted.retention);
    points.compare("num_replicas", &is.num_replicas, &wanted.num_replicas);
    points.compare("discard_new_per_subject", &is.discard_new_per_subject, &wanted.discard_new_per_subject);
    points.compare("discard", &is.discard, &wanted.discard);
    points.compare("allow_direct", &is.allow_direct, &wanted.allow_direct);
    points.compare("max_age", &is.max_age, &wanted.max_age);
    // The server has words of its own for what was not asked for.
    if wanted.max_messages_per_subject > 0 {
        points.compare("max_msgs_per_subject", &is.max_messages_per_subject, &wanted.max_messages_per_subject);
    }
    if wanted.max_messages > 0 {
        points.compare("max_msgs", &is.max_messages, &wanted.max_messages);
    }
    if wanted.max_bytes > 0 {
        points.compare("max_bytes", &is.max_bytes, &wanted.max_bytes);
    }
    if !wanted.duplicate_window.is_zero() {
        points.compare("duplicate_window", &is.duplicate_window, &wanted.duplicate_window);
    }
    points.of(&format!("stream {}", wanted.name))
}

pub(super) fn of_consumer(name: &str, is: &consumer::Config, wanted: &consumer::pull::Config) -> Option<Difference> {
    let mut points = Points(Vec::new());
    points.compare("ack_policy", &is.ack_policy, &wanted.ack_policy);
    points.compare("ack_wait", &is.ack_wait, &wanted.ack_wait);
    points.compare("max_ack_pending", &is.max_ack_pending, &wanted.max_ack_pending);
    if wanted.max_deliver != 0 {
        points.compare("max_deliver", &is.max_deliver, &wanted.max_deliver);
    }
    if wanted.max_waiting != 0 {
        points.compare("max_waiting", &is.max_waiting, &wanted.max_waiting);
    }
    points.of(&format!("consumer {name}"))
}
