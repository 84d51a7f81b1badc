//! Where the shop's public keys come from, and how they stay fresh.
//!
//! - They are read before the edge serves, then again every `IDENTITY_JWKS_REFRESH`, and once more when a token names a key
//!   that is not there, but with a pause in between, so that strangers can't make the edge ask.
//! - No request ever waits for that. A token with a key that is still unknown is answered at once.
//! - What can't be read changes nothing: the keys that are there stay good.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::header;
use tokio::{sync::Notify, time::sleep};
use url::Url;

use super::keys::{KeySet, NotKeys};
use crate::{
    config::JwksSource,
    metrics::{KeyRefresh, Metrics},
    outbound,
};

/// Largest document that is read.
const MAX_BYTES: usize = 64 * 1024;
/// From the first byte of the request to the last of the answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Between two requests to the shop's server, whatever tokens say; and the wait after one that failed.
const PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at a file.
const FILE_PAUSE: Duration = Duration::from_secs(1);

/// The keys, and their source.
pub(crate) struct Jwks {
    source: Source,
    every: Duration,
    keys: RwLock<Arc<KeySet>>,
    /// A token named a key that is not there.
    wanted: Notify,
    failing: AtomicBool,
}

enum Source {
    Url { http: reqwest::Client, url: Url },
    File(PathBuf),
}

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("the server can't be reached")]
    Http(#[source] reqwest::Error),
    #[error("the server answered {0}")]
    Status(u16),
    #[error("the file can't be read")]
    File(#[from] io::Error),
    #[error("it has more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it has no key for ES256 or EdDSA")]
    Nothing,
    #[error(transparent)]
    NotKeys(#[from] NotKeys),
}

impl Jwks {
    /// The keys of a file, which must be good: it is the operator's own. Those of an address come with the first
    /// [`Self::refresh`]; it needs a TLS provider of the process.
    pub(crate) fn new(source: &JwksSource, every: Duration) -> Result<Self, Unread> {
        let (source, keys) = match source {
            JwksSource::Url(url) => {
                let http = outbound::client(TIMEOUT, 0).map_err(Unread::Http)?;
                (Source::Url { http, url: url.clone() }, KeySet::default())
            }
            JwksSource::File(path) => {
                let keys = KeySet::read(read_file(path)?)?;
                if keys.keys.is_empty() {
                    return Err(Unread::Nothing);
                }
                (Source::File(path.clone()), keys)
            }
        };
        let (keys, failing) = (RwLock::new(Arc::new(keys)), AtomicBool::new(false));
        Ok(Self { source, every, keys, wanted: Notify::new(), failing })
    }

    /// The keys as they are now.
    pub(crate) fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key is missing: they are read again as soon as that is allowed.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Reads the keys once.
    pub(crate) async fn refresh(&self, metrics: &Metrics) {
        let read = match &self.source {
            Source::Url { http, url } => fetch(http, url).await,
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.unwrap_or_else(|error| Err(io::Error::other(error).into()))
            }
        };
        let set = read.and_then(|json| Ok(KeySet::read(json)?));
        let result = if set.is_ok() { "read" } else { "failed" };
        metrics.identity_key_refreshes.get_or_create(&KeyRefresh { result }).inc();
        let failed_before = self.failing.swap(set.is_err(), Ordering::Relaxed);
        match set {
            Ok(set) => self.take(set, failed_before),
            // Once: the next line is about the first success.
            Err(error) if !failed_before => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "can't read the shop's public keys; those that were read before stay good");
            }
            Err(_) => {}
        }
    }

    fn take(&self, set: KeySet, failed_before: bool) {
        if set.json == self.keys().json && !failed_before {
            return;
        }
        let (keys, ignored, private) = (set.keys.len(), set.ignored, set.private);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
        tracing::info!(keys, ignored, "read the shop's public keys");
        if private > 0 {
            tracing::warn!(private, "the shop's key set has private keys in it: replace them, they are known now");
        }
    }

    /// Keeps the keys fresh; never returns.
    pub(crate) async fn keep_fresh(&self, metrics: &Metrics) {
        let pause = match self.source {
            Source::Url { .. } => PAUSE,
            Source::File(_) => FILE_PAUSE,
        };
        let good = || !self.failing.load(Ordering::Relaxed);
        pace(self.every, pause, good(), &self.wanted, async || {
            self.refresh(metrics).await;
            good()
        })
        .await;
    }
}

/// Calls `read` every so often, and when it is `wanted`, but never sooner than `pause` after the last time. After one
/// that failed (`good` is about the one before this call) the wait is [`PAUSE`] at most.
async fn pace(every: Duration, pause: Duration, good: bool, wanted: &Notify, mut read: impl AsyncFnMut() -> bool) {
    let wait = |good| if good { every } else { every.min(PAUSE) };
    let mut next = wait(good);
    loop {
        let called = async {
            sleep(pause).await;
            wanted.notified().await;
        };
        tokio::select! { () = sleep(next) => {}, () = called => {} }
        next = wait(read().await);
    }
}

async fn fetch(http: &reqwest::Client, url: &Url) -> Result<Vec<u8>, Unread> {
    let failed = |error: reqwest::Error| Unread::Http(error.without_url());
    let request = http.get(url.clone()).header(header::ACCEPT, "application/jwk-set+json, application/json");
    let response = request.send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(Unread::Status(response.status().as_u16()));
    }
    outbound::body(response, MAX_BYTES).await.map_err(failed)?.ok_or(Unread::TooLarge)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES { Err(Unread::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, net::SocketAddr};

    use axum::{
        Router,
        http::StatusCode,
        response::{IntoResponse as _, Redirect},
        routing::get,
    };
    use tokio::{net::TcpListener, time::Instant};
    use tokio_util::task::TaskTracker;

    use super::*;

    /// When keys are read, in seconds, if a token asks for one at these times.
    async fn readings(every: u64, good: bool, asks: &[u64], until: u64) -> Vec<u64> {
        let (wanted, began, read) = (Notify::new(), Instant::now(), RefCell::new(Vec::new()));
        let paced = pace(Duration::from_secs(every), PAUSE, good, &wanted, async || {
            read.borrow_mut().push(began.elapsed().as_secs());
            good
        });
        let asked = async {
            for ask in asks {
                tokio::time::sleep_until(began + Duration::from_secs(*ask)).await;
                wanted.notify_one();
            }
            tokio::time::sleep_until(began + Duration::from_secs(until)).await;
        };
        tokio::select! { () = paced => {}, () = asked => {} }
        read.into_inner()
    }

    /// Strangers can name keys as often as they like: the shop is asked each half minute at most.
    #[tokio::test(start_paused = true)]
    async fn unknown_keys_are_asked_for_now_and_then() {
        let check = async |every, good, asks: &[u64], expected: &[u64]| {
            assert_eq!(readings(every, good, asks, 1250).await, expected, "{every} {good} {asks:?}");
        };
        check(600, true, &[], &[600, 1200]).await;
        check(600, true, &[100], &[100, 700]).await;
        check(600, true, &[5], &[30, 630, 1230]).await;
        check(600, true, &[100, 101, 102, 103, 129, 131], &[100, 130, 160, 760]).await;
        let flood: Vec<u64> = (0..132).map(|n| n / 2).collect();
        check(600, true, &flood, &[30, 60, 90, 690]).await;
        // The shop's server is away: it is asked more often, but no more often than that.
        assert_eq!(readings(600, false, &[], 100).await, [30, 60, 90]);
        assert_eq!(readings(600, false, &flood, 100).await, [30, 60, 90]);
        assert_eq!(readings(10, false, &[], 35).await, [10, 20, 30]);
    }

    async fn serve(app: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the runtime of its test.
        TaskTracker::new().spawn(axum::serve(listener, app).into_future());
        address
    }

    /// One small answer of the one server: nothing else is keys.
    #[tokio::test]
    async fn only_the_named_server_tells_keys() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let app = Router::new()
            .route("/keys", get(|| async { r#"{"keys":[]}"# }))
            .route("/moved", get(|| async { Redirect::temporary("/keys") }))
            .route("/missing", get(|| async { StatusCode::NOT_FOUND }))
            .route("/empty", get(|| async { StatusCode::NO_CONTENT }))
            .route("/full", get(|| async { "x".repeat(MAX_BYTES) }))
            .route("/large", get(|| async { "x".repeat(MAX_BYTES + 1) }))
            .route("/never", get(|| async { std::future::pending::<()>().await }))
            .route(
                "/endless",
                get(|| async {
                    let pieces = futures_util::stream::repeat_with(|| Ok::<_, io::Error>("x".repeat(1000)));
                    axum::body::Body::from_stream(pieces).into_response()
                }),
            );
        let address = serve(app).await;
        let http = outbound::client(TIMEOUT, 0).unwrap();
        let ask = async |http: &reqwest::Client, path: &str| {
            fetch(http, &Url::parse(&format!("http://{address}{path}")).unwrap()).await
        };
        assert_eq!(ask(&http, "/keys").await.unwrap(), br#"{"keys":[]}"#);
        assert_eq!(ask(&http, "/full").await.unwrap().len(), MAX_BYTES);
        assert!(matches!(ask(&http, "/moved").await, Err(Unread::Status(307))));
        assert!(matches!(ask(&http, "/missing").await, Err(Unread::Status(404))));
        assert!(matches!(ask(&http, "/empty").await, Err(Unread::Status(204))));
        assert!(matches!(ask(&http, "/large").await, Err(Unread::TooLarge)));
        assert!(matches!(ask(&http, "/endless").await, Err(Unread::TooLarge)));
        let hasty = outbound::client(Duration::from_millis(20), 0).unwrap();
        assert!(matches!(ask(&hasty, "/never").await, Err(Unread::Http(error)) if error.is_timeout()));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let nobody = fetch(&http, &Url::parse(&format!("http://{closed}/keys?token=hunter2")).unwrap()).await;
        let told = format!("{:?}", nobody.unwrap_err());
        assert!(!told.contains("hunter2"), "{told}");
    }
}
