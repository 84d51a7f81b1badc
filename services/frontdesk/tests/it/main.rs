//! Stories of visitors, told with real executables, a real nats-server and a scripted n8n.

mod bots;
mod breaker;
mod chat;
mod cli;
mod crash;
mod deploy;
mod desk;
mod http;
mod identity;
mod late;
mod limits;
mod nats;
mod privacy;
mod proofs;
mod sessions;
mod slow;
mod visitor;
