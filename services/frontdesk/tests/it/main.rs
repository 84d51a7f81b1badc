//! Stories of visitors, told with real executables, a real nats-server and a scripted n8n.

mod bots;
mod chat;
mod cli;
mod crash;
mod desk;
mod http;
mod identity;
mod limits;
mod nats;
mod privacy;
mod proofs;
mod sessions;
mod sites;
mod visitor;
