//! Ended sessions, in the process: a list of the last ones, which each follower reads from its beginning.

use protocol::SessionId;
use tokio::sync::watch;

use super::Local;
use crate::{Ending, Error};

impl Local {
    #[expect(clippy::unused_async, reason = "the other variant waits")]
    pub(crate) async fn end_session(&self, session: &SessionId) -> Result<(), Error> {
        let mut state = self.state();
        state.ended.push_back(session.clone());
        // Those who follow have heard of it long ago.
        if state.ended.len() > self.0.config.ended_max {
            state.ended.pop_front();
            state.ended_gone += 1;
        }
        drop(state);
        self.0.ended.send_replace(());
        Ok(())
    }

    pub(crate) fn ended(&self) -> Ended {
        Ended { changes: self.0.ended.subscribe(), bus: self.clone(), read: 0, caught_up: false }
    }
}

pub(crate) struct Ended {
    changes: watch::Receiver<()>,
    bus: Local,
    /// How many have been told, of all that ever ended.
    read: u64,
    caught_up: bool,
}

impl Ended {
    pub(crate) async fn next(&mut self) -> Ending {
        loop {
            self.changes.mark_unchanged();
            if let Some(session) = self.take() {
                return Ending::Session(session);
            }
            if !self.caught_up {
                self.caught_up = true;
                return Ending::CaughtUp;
            }
            // The sender lives as long as the bus, which this holds.
            self.changes.changed().await.ok();
        }
    }

    fn take(&mut self) -> Option<SessionId> {
        let state = self.bus.state();
        self.read = self.read.max(state.ended_gone);
        let at = usize::try_from(self.read - state.ended_gone).ok()?;
        let session = state.ended.get(at)?.clone();
        self.read += 1;
        Some(session)
    }
}
