//! The edge's own calls: to the shop for its public keys, to a captcha's provider, and to nobody else.

use std::time::Duration;

use reqwest::{Client, Response};

/// Speaks to one server only, and takes nothing from it but its answer. `idle`: connections that are kept for later.
pub(crate) fn client(timeout: Duration, idle: usize) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("frontdesk/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .pool_max_idle_per_host(idle)
        // Wherever a redirect or a proxy variable of the environment leads, it is not where the operator pointed, and a
        // secret would be carried along.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// The body, of at most `max` bytes; `None` when it is longer.
pub(crate) async fn body(mut response: Response, max: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > max {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}
