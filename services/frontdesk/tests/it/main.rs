//! Stories of visitors, told with real executables, a real nats-server and a scripted n8n.

mod bots;
mod bounds;
mod breaker;
mod chat;
mod cli;
mod crash;
mod deploy;
mod desk;
mod facts;
mod http;
mod identity;
mod kept;
mod late;
mod limits;
mod nats;
mod outage;
mod privacy;
mod proofs;
mod sessions;
mod sites;
mod slow;
mod stop;
mod visitor;
mod wire;
