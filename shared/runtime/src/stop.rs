//! SIGTERM and Ctrl-C as a token.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice: it left work behind.
pub const IMPATIENT_EXIT: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT. The next one ends the process at once, also where the token
/// was cancelled by somebody else.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    // One task listens to both signals, from the beginning: a second one that follows at once is not missed.
    #[expect(clippy::disallowed_methods, reason = "waits for a signal that need not come; ends with the process")]
    tokio::spawn({
        let token = token.clone();
        async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {}, () = token.cancelled() => {} }
            tracing::info!("stopping: finishing what runs; a second signal ends at once");
            token.cancel();
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            tracing::warn!("told to stop twice: ending at once");
            std::process::exit(IMPATIENT_EXIT);
        }
    });
    Ok(token)
}
