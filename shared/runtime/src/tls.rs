//! TLS at the listener itself, by rustls: 1.2 and 1.3, HTTP/1.1, and a certificate that can be renewed while it serves.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{io::AsyncRead, io::AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::http::Counts;

/// Renewed files are noticed after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Why there can be no TLS. Each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read as PEM of its kind.
    #[error("{path}: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// The two don't belong together, or can't be used.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate in use. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    files: Arc<Files>,
    /// How the files looked before they were read.
    known: [Look; 2],
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Each handshake asks for the certificate of that moment; connections that are open keep theirs.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("nothing panics while holding it")))
    }
}

/// How a file looks from outside. A renewed one differs in one of them.
type Look = Option<(SystemTime, u64)>;

impl Files {
    fn load(&self, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
        let told = |path: &Path, error: pem::Error, what: &str| {
            let reason = match error {
                pem::Error::NoItemsFound => format!("there is no {what} in PEM form in it"),
                // Other errors may show what stands in the file, and that may be the key.
                pem::Error::Io(error) => error.to_string(),
                _ => "is not PEM".to_owned(),
            };
            Error::File { path: path.to_owned(), reason }
        };
        let (certificate, key) = (self.certificate.as_path(), self.key.as_path());
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(|error| told(certificate, error, "certificate"))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error, "private key"))?;
        Ok(CertifiedKey::from_der(chain, secret, provider)?)
    }

    fn look(&self) -> [Look; 2] {
        [&self.certificate, &self.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}

impl Tls {
    /// Reads the certificate chain and its key, both PEM files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let provider = Arc::new(ring::default_provider());
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let known = files.look();
        let current = Arc::new(Current(RwLock::new(Arc::new(files.load(&provider)?))));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), current, files: Arc::new(files), known })
    }

    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }

    /// Takes renewed files into use until `stop`. What can't be used is told once, and what was in use stays.
    pub(crate) async fn keep_fresh(self, counts: Counts, stop: CancellationToken) {
        let mut known = self.known;
        loop {
            tokio::select! { () = tokio::time::sleep(LOOK_AGAIN) => {}, () = stop.cancelled() => return }
            let files = Arc::clone(&self.files);
            let read = tokio::task::spawn_blocking(move || {
                // Looked at before it is read: what changes in between is read once more.
                let look = files.look();
                let fresh = (look != known).then(|| files.load(&ring::default_provider()));
                (look, fresh)
            });
            let Ok((look, fresh)) = read.await else { continue };
            known = look;
            match fresh {
                None => {}
                Some(Ok(fresh)) => {
                    *self.current.0.write().expect("nothing panics while holding it") = Arc::new(fresh);
                    counts.reloaded(true);
                    tracing::info!("took a renewed certificate into use");
                }
                Some(Err(error)) => {
                    counts.reloaded(false);
                    tracing::error!(%error, "the renewed certificate can't be used; the one before it stays");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_rustls::TlsConnector;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// A file appears whole, as those who renew certificates do it.
    fn put(path: &Path, text: &str) {
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, path).unwrap();
    }

    /// A folder with a certificate for `chat.example` and its key.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.renew();
            folder
        }

        fn certificate(&self) -> PathBuf {
            self.0.path().join("cert.pem")
        }

        fn key(&self) -> PathBuf {
            self.0.path().join("key.pem")
        }

        fn load(&self) -> Result<Tls, Error> {
            Tls::load(&self.certificate(), &self.key())
        }

        /// Each time a line longer: two writes within a tick of the file system's clock must look different.
        fn renew(&self) {
            let lines = fs::read_to_string(self.certificate()).map_or(0, |old| old.lines().count());
            let pair = rcgen::generate_simple_self_signed(["chat.example".to_owned()]).unwrap();
            put(&self.certificate(), &format!("{}{}", "\n".repeat(lines), pair.cert.pem()));
            put(&self.key(), &pair.signing_key.serialize_pem());
        }

        /// What a client says of a handshake when it trusts the certificate that is in the folder now.
        async fn meet(&self, tls: &Tls, alpn: &[&[u8]]) -> io::Result<tokio_rustls::client::TlsStream<DuplexStream>> {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.certificate()).unwrap()).unwrap();
            let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
            let (client, server) = tokio::io::duplex(64 * 1024);
            let connector = TlsConnector::from(Arc::new(config));
            let name = ServerName::try_from("chat.example").unwrap();
            let (client, _) = tokio::join!(connector.connect(name, client), async {
                if let Ok(mut stream) = tls.accept(server).await {
                    stream.write_all(b"hi").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            });
            client
        }
    }

    #[tokio::test]
    async fn a_client_who_trusts_the_certificate_is_served() {
        let folder = Folder::new();
        let tls = folder.load().unwrap();
        let mut stream = folder.meet(&tls, &[b"h2", b"http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "hi");
        assert!(folder.meet(&tls, &[]).await.is_ok());
        assert!(folder.meet(&tls, &[b"h2"]).await.is_err(), "HTTP/2 is not spoken, and not pretended");
    }

    #[test]
    fn what_can_not_be_used_is_told_by_its_file() {
        let folder = Folder::new();
        let other = Folder::new();
        let check = |certificate: &Path, key: &Path, sentence: &str| {
            let error = Tls::load(certificate, key).err().unwrap().to_string();
            assert!(error.contains(sentence), "{error}");
        };
        check(Path::new("/nowhere/cert.pem"), &folder.key(), "/nowhere/cert.pem: No such file");
        check(&folder.key(), &folder.key(), "key.pem: there is no certificate");
        check(&folder.certificate(), &folder.certificate(), "cert.pem: there is no private key");
        check(&folder.certificate(), &other.key(), "certificate and key: ");
        let secret = fs::read_to_string(folder.key()).unwrap().replace("-----END", "");
        fs::write(folder.key(), &secret).unwrap();
        let error = folder.load().err().unwrap().to_string();
        assert!(error.contains("key.pem: ") && !error.contains(secret.lines().nth(1).unwrap()), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used_and_a_bad_one_is_not() {
        let (folder, counts, stop) = (Folder::new(), Counts::default(), CancellationToken::new());
        let tls = folder.load().unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(tls.clone().keep_fresh(counts.clone(), stop.clone()));
        tasks.close();
        let until = async |taken: u64, failed: u64| {
            for _ in 0..10 {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            assert_eq!((counts.reloads_by("taken"), counts.reloads_by("failed")), (taken, failed));
        };
        folder.renew();
        until(1, 0).await;
        assert!(folder.meet(&tls, &[]).await.is_ok());

        let good = fs::read_to_string(folder.certificate()).unwrap();
        put(&folder.certificate(), "not PEM");
        until(1, 1).await;
        put(&folder.certificate(), &good);
        assert!(folder.meet(&tls, &[]).await.is_ok(), "the one before it stays");
        until(2, 1).await;
        stop.cancel();
        tasks.wait().await;
    }
}
