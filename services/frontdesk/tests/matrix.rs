//! The crash matrix: each process of a deployment is killed, stopped and frozen at each moment of a message's life.
//!
//! Every cell has a Frontdesk of its own: two edges, two workers, analytics, a nats-server, a scripted n8n. Between the
//! processes stand [`wire`]s that hold a connection at a byte, so that a moment is reached and not guessed. The visitor
//! ([`shopper`]) does as the widget does: one `message_id`, and again at the other edge until it has an end.
//!
//! `CELLS="worker kill"` runs only cells whose name has these words. `UPDATE_DOCS=1` writes what was seen, with the
//! times of this run, into docs/reliability.md; without it, that page must say what was seen.
#![allow(dead_code, reason = "the harness has more than these stories use")]

#[path = "it/desk.rs"]
mod desk;
#[path = "it/visitor.rs"]
mod visitor;

#[path = "matrix/cell.rs"]
mod cell;
#[path = "matrix/shopper.rs"]
mod shopper;
#[path = "matrix/stage.rs"]
mod stage;
#[path = "matrix/table.rs"]
mod table;
#[path = "matrix/wire.rs"]
mod wire;

use tokio::sync::Semaphore;

use cell::{Cell, Fault};

/// Cells at once: each has six processes and a nats-server, which mostly wait.
const AT_ONCE: usize = 8;
static ROOM: Semaphore = Semaphore::const_new(AT_ONCE);

/// Runs a column of the matrix, tells of every cell that failed, and compares what was seen with the docs.
async fn run(fault: Fault) {
    let wanted = std::env::var("CELLS").unwrap_or_default();
    let cells = Cell::all(fault).into_iter().filter(|cell| cell.is_called(&wanted));
    let tasks = tokio_util::task::TaskTracker::new();
    let running: Vec<_> = cells
        .map(|cell| {
            let task = tasks.spawn(async move {
                let _room = ROOM.acquire().await.expect("it is never closed");
                Box::pin(cell.run()).await
            });
            (cell, task)
        })
        .collect();
    let (mut seen, mut failed) = (Vec::new(), Vec::new());
    for (cell, task) in running {
        match task.await {
            Ok(outcome) => seen.push((cell, outcome)),
            Err(error) => {
                let panic = error.into_panic();
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
                failed.push(format!("{cell}: {text}"));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} cells failed, their processes' logs are above:\n{}",
        failed.len(),
        failed.join("\n")
    );
    table::check(fault, &seen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_at_each_moment() {
    run(Fault::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stopped_at_each_moment() {
    run(Fault::Term).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frozen_at_each_moment() {
    run(Fault::Freeze).await;
}
