//! A TCP connection that can be held: stands between a process and what it talks to, and stops at a byte.
//!
//! Held bytes are what a process has handed to its kernel and what has not arrived. They arrive when the wire is let go,
//! and never when it is cut.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of the past that are kept to find words in; longer than any that are waited for.
const LONGEST: usize = 32;

/// What a wire does when it meets the words it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Holds them and what follows.
    Hold,
    /// Lets them through, and holds the answers.
    HoldAnswers,
    /// Only remembers that they came.
    Mark,
}

/// See the module.
pub(crate) struct Wire {
    shared: Arc<Shared>,
    port: u16,
    tasks: TaskTracker,
    closed: CancellationToken,
}

struct Shared {
    target: String,
    waits_for: Mutex<Option<(&'static str, At)>>,
    met: watch::Sender<bool>,
    /// Ends the present hold: its connections go on, or are cut.
    hold: Mutex<Hold>,
}

#[derive(Clone, Default)]
struct Hold {
    go_on: CancellationToken,
    cut: CancellationToken,
}

impl Wire {
    /// Leads to `target`, an address.
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            target,
            waits_for: Mutex::default(),
            met: watch::Sender::default(),
            hold: Mutex::default(),
        });
        let (tasks, closed) = (TaskTracker::new(), CancellationToken::new());
        let accept = {
            let (shared, tasks, closed) = (Arc::clone(&shared), tasks.clone(), closed.clone());
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    tasks.spawn(closed.clone().run_until_cancelled_owned(carry(Arc::clone(&shared), near)));
                }
            }
        };
        tasks.spawn(closed.clone().run_until_cancelled_owned(accept));
        Self { shared, port, tasks, closed }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits for these words of whoever is at the near end.
    pub(crate) fn wait_for(&self, words: &'static str, at: At) {
        self.shared.met.send_replace(false);
        *self.shared.waits_for.lock().expect("no panic under it") = Some((words, at));
    }

    /// Comes back when they came.
    pub(crate) async fn met(&self) {
        self.shared.met.subscribe().wait_for(|met| *met).await.expect("the sender is ours");
    }

    pub(crate) fn has_met(&self) -> bool {
        *self.shared.met.borrow()
    }

    /// Lets go of what is held, and waits for nothing.
    pub(crate) fn let_go(&self) {
        self.end_hold().go_on.cancel();
    }

    /// What is held never arrives, as when the process died with it.
    pub(crate) fn cut(&self) {
        self.end_hold().cut.cancel();
    }

    fn end_hold(&self) -> Hold {
        *self.shared.waits_for.lock().expect("no panic under it") = None;
        std::mem::take(&mut *self.shared.hold.lock().expect("no panic under it"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Shared {
    /// Whether the awaited words end in `new`, which follows upon `before`, and where in it they begin; only once.
    fn meet(&self, before: &[u8], new: &[u8]) -> Option<(usize, At)> {
        let mut waits_for = self.waits_for.lock().expect("no panic under it");
        let (words, at) = (*waits_for)?;
        let both = [before, new].concat();
        let place = both.windows(words.len()).position(|window| window == words.as_bytes())?;
        *waits_for = None;
        Some((place.saturating_sub(before.len()), at))
    }

    fn hold(&self) -> Hold {
        self.hold.lock().expect("no panic under it").clone()
    }
}

impl Hold {
    /// Waits for the end of the hold; `None` when the connection is to be cut.
    async fn ended(&self) -> Option<()> {
        tokio::select! {
            () = self.go_on.cancelled() => Some(()),
            () = self.cut.cancelled() => None,
        }
    }
}

/// Carries one connection to its end; closes both sides when either closes.
async fn carry(shared: Arc<Shared>, near: TcpStream) {
    let Ok(far) = TcpStream::connect(&shared.target).await else { return };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (mut from_near, mut to_near) = near.into_split();
    let (mut from_far, mut to_far) = far.into_split();
    let answers_held: Mutex<Option<Hold>> = Mutex::default();
    let words = async {
        let (mut buffer, mut before) = (vec![0; 64 * 1024], Vec::new());
        while let Ok(read @ 1..) = from_near.read(&mut buffer).await {
            let bytes = &buffer[..read];
            let met = shared.meet(&before, bytes);
            // Words may come in two reads.
            before = bytes[read.saturating_sub(LONGEST)..].to_vec();
            let mut sent = 0;
            if let Some((place, at)) = met {
                let hold = shared.hold();
                if at == At::HoldAnswers {
                    *answers_held.lock().expect("no panic under it") = Some(hold.clone());
                }
                if at == At::Hold {
                    to_far.write_all(&bytes[..place]).await.ok()?;
                    sent = place;
                }
                shared.met.send_replace(true);
                if at == At::Hold {
                    hold.ended().await?;
                }
            }
            to_far.write_all(&bytes[sent..]).await.ok()?;
        }
        Some(())
    };
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_far.read(&mut buffer).await {
            let held = answers_held.lock().expect("no panic under it").clone();
            if let Some(hold) = held {
                hold.ended().await?;
            }
            to_near.write_all(&buffer[..read]).await.ok()?;
        }
        Some(())
    };
    tokio::select! {
        _ = words => {}
        _ = answers => {}
    }
}
