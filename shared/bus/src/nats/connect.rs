//! A connection to NATS: how it is found, proved and kept.
//!
//! The first try decides. A server that is away is waited for; one that is there and won't have this role, or that this
//! role must not trust, ends the start, since waiting would not help. After the start everything is tried again.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectError as Failed, ConnectErrorKind, ConnectOptions, Event, ServerAddr,
    rustls::{self, AlertDescription, CertificateError},
};
use nkeys::KeyPairType;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{mpsc, watch};

use super::{UNREAD, unavailable};
use crate::{ConnectError, NatsConfig};

/// What connections tell of themselves.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    /// Changes with every (re)connection.
    pub(crate) connected: watch::Sender<u64>,
    /// When a connection that had been lost was there again.
    pub(crate) reconnected: Arc<Mutex<Option<Instant>>>,
    /// How often the server refused something.
    pub(crate) refusals: Arc<AtomicU64>,
    /// Whether it did so for want of a right.
    pub(crate) denied: Arc<AtomicBool>,
    /// How often a connection that was there was lost.
    pub(crate) outages: Arc<AtomicU64>,
    /// Messages for which a listener had no room.
    pub(crate) unread: Arc<AtomicU64>,
    /// Why the last try to connect failed.
    pub(crate) trouble: Arc<Mutex<String>>,
    /// Who wants to know what it was that the server refused; what finds no room there is not told.
    pub(crate) refused: Option<mpsc::Sender<String>>,
}

impl Heard {
    pub(crate) fn trouble(&self) -> String {
        self.trouble.lock().expect("nothing panics while holding it").clone()
    }

    fn failed(&self, reason: String) {
        *self.trouble.lock().expect("nothing panics while holding it") = reason;
    }

    fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.connected.send_modify(|epoch| *epoch += 1);
                if *self.connected.borrow() > 1 {
                    *self.reconnected.lock().expect("nothing panics while holding it") = Some(Instant::now());
                }
                tracing::debug!("connected to NATS");
            }
            Event::Disconnected => {
                self.outages.fetch_add(1, Ordering::Relaxed);
                self.failed("the connection was lost".to_owned());
                tracing::debug!("the connection to NATS was lost");
            }
            // One a drop: counted, and holes in the indexes tell.
            Event::SlowConsumer(_) => drop(self.unread.fetch_add(1, Ordering::Relaxed)),
            Event::ServerError(error) if is_refusal(&error.to_string()) => {
                self.refused(is_denial(&error.to_string()));
                if let Some(tell) = &self.refused {
                    tell.try_send(error.to_string()).ok();
                }
                tracing::error!(%error, "NATS refused");
            }
            Event::ServerError(error) => tracing::warn!(%error, "NATS"),
            // One a try to connect; `outage` tells of them seldom.
            Event::ClientError(error) => {
                if is_denial(&error.to_string()) {
                    self.refused(true);
                }
                self.failed(error.to_string());
                tracing::debug!(%error, "NATS");
            }
            event => tracing::info!(%event, "NATS"),
        }
    }

    fn refused(&self, denial: bool) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.denied.fetch_or(denial, Ordering::Relaxed);
    }
}

/// How often a connection on which nothing comes is asked for a sign of life. After two without an answer, in four to
/// six seconds, it is given up for a new one: where packets vanish, TCP alone would try less and less often, and find
/// late that they arrive again.
const PING_EVERY: Duration = Duration::from_secs(2);

/// Connects, or goes on trying in the background where the server is away. A request gets `patience` for its answer.
pub(crate) async fn connect(
    nats: &NatsConfig,
    role: &'static str,
    purpose: &str,
    patience: Duration,
    heard: &Heard,
) -> Result<Client, ConnectError> {
    match connect_once(nats, role, purpose, patience, heard).await {
        Err(ConnectError::Bus(error)) => heard.failed(error.to_string()),
        decided => return decided,
    }
    let options = options(nats, role, purpose, patience, heard)?.retry_on_initial_connect();
    options.connect(servers(&nats.nats_url)?).await.map_err(|e| unavailable(&e).into())
}

/// Any one of them will do. What can't be read is not shown: some write passwords into it.
fn servers(list: &str) -> Result<Vec<ServerAddr>, ConnectError> {
    let servers = list.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::parse);
    match servers.collect::<Result<Vec<ServerAddr>, _>>() {
        Ok(servers) if !servers.is_empty() => Ok(servers),
        _ => Err(ConnectError::Settings(
            "NATS_URL: write servers such as nats://host:4222, with commas between".to_owned(),
        )),
    }
}

/// Tries once: a server that is away is [`ConnectError::Bus`].
pub(crate) async fn connect_once(
    nats: &NatsConfig,
    role: &'static str,
    purpose: &str,
    patience: Duration,
    heard: &Heard,
) -> Result<Client, ConnectError> {
    let options = options(nats, role, purpose, patience, heard)?;
    options.connect(servers(&nats.nats_url)?).await.map_err(|error| match refused(&error) {
        Some(refused) => ConnectError::Refused(refused),
        None => unavailable(&error).into(),
    })
}

fn options(
    nats: &NatsConfig,
    role: &'static str,
    purpose: &str,
    patience: Duration,
    heard: &Heard,
) -> Result<ConnectOptions, ConnectError> {
    let heard = heard.clone();
    let options = ConnectOptions::new()
        .name(format!("frontdesk-{role}-{purpose}"))
        // Only the role's own inbox: a role that may read `_INBOX.>` reads the answers to all others.
        .custom_inbox_prefix(format!("_INBOX.{role}"))
        .ping_interval(PING_EVERY)
        .request_timeout(Some(patience))
        .connection_timeout(Duration::from_secs(2))
        .subscription_capacity(UNREAD)
        // One read of n8n can bring hundreds of lines; the default of 128 commands would drop most of them.
        .client_capacity(8192)
        .reconnect_delay_callback(|attempts| {
            let doubled = 20_u64.saturating_mul(1 << attempts.min(10));
            Duration::from_millis(doubled.min(500) + rand::random::<u64>() % 50)
        })
        .event_callback(move |event| {
            heard.hear(&event);
            std::future::ready(())
        });
    proved(encrypted(options, nats)?, nats)
}

/// A right that is missing, or a limit that is reached; not, say, a connection that the server took for dead.
fn is_refusal(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("violation") || text.contains("exceeded")
}

/// A right that is missing: waiting won't help.
fn is_denial(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("permissions violation") || text.contains("authorization violation")
}

fn settings(text: impl Into<String>) -> ConnectError {
    ConnectError::Settings(text.into())
}

/// With what the role proves who it is.
fn proved(options: ConnectOptions, nats: &NatsConfig) -> Result<ConnectOptions, ConnectError> {
    match (&nats.nats_user, &nats.nats_password, &nats.nats_nkey) {
        (None, None, None) => Ok(options),
        (Some(user), Some(password), None) => {
            Ok(options.user_and_password(user.clone(), password.expose_secret().to_owned()))
        }
        (None, None, Some(seed)) => Ok(options.nkey(user_seed(seed)?)),
        (_, _, Some(_)) => {
            Err(settings("NATS_NKEY stands in the place of NATS_USER and NATS_PASSWORD: set one of them"))
        }
        _ => Err(settings("NATS_USER and NATS_PASSWORD go together")),
    }
}

/// The seed, if it is one of a user. Its own error is not shown: it might show the seed.
fn user_seed(seed: &SecretString) -> Result<String, ConnectError> {
    let seed = seed.expose_secret().trim();
    let pair = nkeys::KeyPair::from_seed(seed);
    let of_user = pair.is_ok_and(|pair| pair.key_pair_type() == KeyPairType::User);
    of_user.then(|| seed.to_owned()).ok_or_else(|| {
        settings("NATS_NKEY is not the seed of a user, which begins with SU; make one with `frontdesk keys --nkey`")
    })
}

fn encrypted(mut options: ConnectOptions, nats: &NatsConfig) -> Result<ConnectOptions, ConnectError> {
    if let Some(ca) = &nats.nats_tls_ca {
        readable("NATS_TLS_CA", ca)?;
        // Without this a stranger in between could say that the server has no TLS.
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    match (&nats.nats_tls_cert, &nats.nats_tls_key) {
        (None, None) => Ok(options),
        // The client library shows a certificate only together with authorities of our own.
        (Some(_), Some(_)) if nats.nats_tls_ca.is_none() => Err(settings("NATS_TLS_CERT needs NATS_TLS_CA")),
        (Some(cert), Some(key)) => {
            readable("NATS_TLS_CERT", cert)?;
            readable("NATS_TLS_KEY", key)?;
            Ok(options.add_client_certificate(cert.clone(), key.clone()))
        }
        _ => Err(settings("NATS_TLS_CERT and NATS_TLS_KEY go together")),
    }
}

/// Read at the start, so that a wrong path is said by the name of its setting.
fn readable(name: &str, file: &Path) -> Result<(), ConnectError> {
    std::fs::read(file).map(drop).map_err(|error| settings(format!("{name}, {}: {error}", file.display())))
}

/// Why there is no use in waiting; `None` where the server is only away.
fn refused(error: &Failed) -> Option<String> {
    let text = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "it does not know this user, or not with this password or key".to_owned()
        }
        ConnectErrorKind::Tls | ConnectErrorKind::ServerParse => unavailable(error).to_string(),
        _ => tls_trouble(rustls_error(error)?),
    };
    Some(text)
}

fn tls_trouble(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is signed by nobody who is trusted here: the authority belongs into NATS_TLS_CA".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::BadCertificate) => {
            "it wants a certificate of this role: NATS_TLS_CERT and NATS_TLS_KEY".to_owned()
        }
        rustls::Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        error => format!("TLS: {error}"),
    }
}

/// The client library wraps what TLS says into I/O errors.
fn rustls_error(error: &Failed) -> Option<&rustls::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}

/// Makes an NKey for a user: its seed, which is the secret, and the public key, which the server is told.
pub fn new_nkey() -> (String, String) {
    let pair = nkeys::KeyPair::new_user();
    let seed = pair.seed().expect("a pair that was just made has its seed");
    (seed, pair.public_key())
}

#[cfg(test)]
mod tests {
    use async_nats::ServerError;

    use super::*;

    #[test]
    fn servers_are_a_list() {
        let count = |list: &str| servers(list).map(|servers| servers.len()).ok();
        assert_eq!(count("nats://a:4222"), Some(1));
        assert_eq!(count("nats://a:4222, tls://b:4222,c"), Some(3));
        for bad in ["", ",", "nats://a:port,nats://b"] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }

    /// The server's own words.
    #[test]
    fn a_limit_is_no_missing_right() {
        let check = |text: &str, refusal: bool, denial: bool| {
            let error = ServerError::Other(text.to_owned()).to_string();
            assert_eq!((is_refusal(&error), is_denial(&error)), (refusal, denial), "{text}");
        };
        check(r#"Permissions Violation for Publish to "chat.req.x""#, true, true);
        check("Authorization Violation", true, true);
        check("maximum connections exceeded", true, false);
        check("maximum subscriptions exceeded", true, false);
        check("Maximum Payload Violation", true, false);
        check("Stale Connection", false, false);
        let known = ServerError::AuthorizationViolation.to_string();
        assert!(is_refusal(&known) && is_denial(&known));
        let at_reconnect = ConnectErrorKind::AuthorizationViolation.to_string();
        assert!(is_denial(&at_reconnect), "{at_reconnect}");
    }
}
