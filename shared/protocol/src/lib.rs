//! What crosses a process boundary in Frontdesk: serde types and nothing else.
//!
//! - [`ids`]: site, session, message and fact ids, checked once, safe in subjects and URLs afterwards.
//! - [`message`]: what a visitor says, as the edge hands it to a worker.
//! - [`event`]: what a worker tells about a running reply.
//! - [`record`]: the session's record: the claim, and what a resume is answered from.
//! - [`fact`]: what happened, for analytics, never with text of the chat.
//! - [`charges`]: what edges tell each other about their limits, and what is kept of it.
//!
//! The JSON forms are frozen by `fixtures/`: a test reads every file there, and so may tests in other languages.

pub mod charges;
pub mod event;
pub mod fact;
pub mod ids;
pub mod message;
pub mod record;
mod time;

pub use charges::{Charges, Count, Counts, CountsAsk, Key, Tier};
pub use event::{Event, FailureCode, FinishReason, Terminal, What};
pub use fact::{BotClass, Comment, Device, Fact, FactKind, Rating, Visit};
pub use ids::{FactId, IdError, MessageId, SessionId, SiteId};
pub use message::{Message, Page, Role, Turn};
pub use record::{Record, Reply, State};
pub use time::Millis;
