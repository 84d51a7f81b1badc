//! SIGTERM and Ctrl-C as a token.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The exit code of a process that was told twice: it left work behind.
pub const IMPATIENT_EXIT: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one ends the process at once.
pub fn on_signal(tasks: &TaskTracker) -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    tasks.spawn({
        let token = token.clone();
        async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, () = token.cancelled() => {} }
            tracing::info!("stopping: finishing what runs; a second signal ends at once");
            token.cancel();
        }
    });
    // Not tracked: it waits for a signal that need not come.
    #[expect(clippy::disallowed_methods, reason = "ends with the process, by ending the process")]
    tokio::spawn({
        let token = token.clone();
        async move {
            token.cancelled().await;
            let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
                return;
            };
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::warn!("told to stop twice: ending at once");
            std::process::exit(IMPATIENT_EXIT);
        }
    });
    Ok(token)
}
