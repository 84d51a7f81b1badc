//! Ended sessions over NATS: a message without content on `chat.end.<session>`, kept in `ENDED`.
//!
//! A follower hears of an end twice: at once, because it subscribes to the subject, and from the stream, which it reads
//! from the beginning and then looks into every second. The first is quick, the second misses nothing. There is no
//! consumer, so that following needs no right to make one; the stream is asked at its leader, because a copy that lags
//! would say that there is nothing more.

use std::{collections::VecDeque, time::Duration};

use async_nats::{
    Subscriber,
    jetstream::{self, message::PublishMessage, stream::LastRawMessageErrorKind},
};
use futures_util::{StreamExt as _, future::join_all};
use protocol::SessionId;
use tokio::{sync::watch, time::Instant};

use super::{Nats, outage::Seldom, publish_acked, refusal, subject, unavailable};
use crate::{Ending, Error};

const ALL: &str = "chat.end.*";
/// How often the stream is looked into once all of it was read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Ends that are asked for at once while there are many: one at a time a day's worth would take a start minutes.
const AT_ONCE: u64 = 64;

impl Nats {
    pub(crate) async fn end_session(&self, session: &SessionId) -> Result<(), Error> {
        if !self.connected() {
            return Err(Error::Unavailable("not connected".into()));
        }
        match publish_acked(&self.0.js, subject("end", session), PublishMessage::build()).await {
            Ok(_) => Ok(()),
            Err(error) if refusal(&error).is_some() => Err(Error::Overloaded),
            Err(error) => Err(unavailable(&error)),
        }
    }

    pub(crate) async fn ended(&self) -> Result<Ended, Error> {
        let live = self.0.live.client.subscribe(ALL).await.map_err(|e| unavailable(&e))?;
        let mut epoch = self.0.control_epoch.clone();
        epoch.mark_unchanged();
        let (js, found) = (self.0.js.clone(), VecDeque::new());
        let telling = Seldom::default();
        let look_at = Instant::now();
        Ok(Ended { js, live, epoch, found, from: 1, at_once: 1, look_at, read_in: false, told: false, telling })
    }
}

pub(crate) struct Ended {
    js: jetstream::Context,
    live: Subscriber,
    epoch: watch::Receiver<u64>,
    found: VecDeque<SessionId>,
    /// The first sequence that was not read yet.
    from: u64,
    at_once: u64,
    look_at: Instant,
    /// Whether the stream was read to its end, and whether that was told.
    read_in: bool,
    told: bool,
    telling: Seldom,
}

impl Ended {
    pub(crate) async fn next(&mut self) -> Ending {
        loop {
            if let Some(session) = self.found.pop_front() {
                return Ending::Session(session);
            }
            if self.read_in && !std::mem::replace(&mut self.told, true) {
                return Ending::CaughtUp;
            }
            tokio::select! {
                Some(message) = self.live.next() => {
                    if let Some(session) = session_of(&message.subject) {
                        return Ending::Session(session);
                    }
                }
                // From the beginning: with its disk the server may have lost the stream, and begun another one.
                Ok(()) = self.epoch.changed() => (self.from, self.look_at) = (1, Instant::now()),
                () = tokio::time::sleep_until(self.look_at) => match self.look().await {
                    Ok(true) => {}
                    Ok(false) => (self.read_in, self.look_at) = (true, Instant::now() + LOOK_AGAIN),
                    Err(error) => {
                        if !self.read_in && self.telling.is_due() {
                            tracing::warn!(%error, "can't read which sessions ended; was `frontdesk nats-setup` run?");
                        }
                        self.look_at = Instant::now() + LOOK_AGAIN;
                    }
                },
            }
        }
    }

    /// Reads what comes next in the stream; whether there may be more.
    async fn look(&mut self) -> Result<bool, Error> {
        let stream = self.js.get_stream_no_info("ENDED").await.map_err(|e| unavailable(&e))?;
        let gets = (self.from..self.from + self.at_once).map(|at| stream.get_first_raw_message_by_subject(ALL, at));
        let (mut next, mut more) = (self.from, true);
        let mut found = Vec::new();
        for result in join_all(gets).await {
            match result {
                // Each is the first one from its place on: where some are gone, several places lead to the same one.
                Ok(message) if message.sequence >= next => {
                    next = message.sequence + 1;
                    found.extend(session_of(&message.subject));
                }
                Ok(_) => {}
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => more = false,
                Err(error) => return Err(unavailable(&error)),
            }
        }
        (self.from, self.at_once) = (next, if more { (self.at_once * 2).min(AT_ONCE) } else { 1 });
        self.found.extend(found);
        Ok(more)
    }
}

fn session_of(subject: &str) -> Option<SessionId> {
    SessionId::new(subject.strip_prefix("chat.end.")?).ok()
}
