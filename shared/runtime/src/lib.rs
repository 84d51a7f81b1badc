//! How a Frontdesk process lives, whatever its role.
//!
//! - `settings`: parsers for the typed settings, and the log settings that every role has.
//! - `secret`: secrets that are long enough, print as stars and are made by `frontdesk keys`.
//! - `customer`: what analytics knows of a customer of the shop.
//! - `sites`: files with a list of sites.
//! - `telemetry`: logs and traces; `trace`: the spans there are, and how a trace goes from one process to the next.
//! - `stop`: SIGTERM and Ctrl-C as a token; a second one ends the process at once.
//! - `http`: the accept loop with its limits and its drain; `tls`: its certificate.
//! - `problem`: problem documents; `asset`: files that are part of the executable.
//! - `metrics`: a registry, its two text formats, and who may read them.
//! - `process`: what the process takes of its machine.
//! - `ops`: the small HTTP server for health and metrics that worker and analytics have.

pub mod asset;
pub mod customer;
pub mod http;
pub mod metrics;
pub mod ops;
pub mod problem;
pub mod process;
pub mod secret;
pub mod settings;
pub mod sites;
pub mod stop;
pub mod telemetry;
pub mod tls;
pub mod trace;

pub use secret::Secret;
