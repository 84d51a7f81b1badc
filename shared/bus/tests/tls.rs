//! TLS and NKeys on the way to a real nats-server: what is needed gets through, what is not trusted does not.

#![expect(clippy::unwrap_used, clippy::large_futures, reason = "a test that can't go on should stop")]

use std::path::{Path, PathBuf};

use bus::{
    Bus, Config, ConnectError, NatsConfig, new_nkey,
    testing::{NatsServer, SHIPPED, user},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and files signed by it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Certificate and key for that name.
    fn signs(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str, pem: String| {
            let path = self.folder.path().join(format!("{name}-{end}.pem"));
            std::fs::write(&path, pem).unwrap();
            path
        };
        (file("cert", cert.pem()), file("key", key.serialize_pem()))
    }

    /// The shipped configuration with TLS.
    fn guards(&self, more: &str) -> String {
        let (cert, key) = self.signs("127.0.0.1");
        let quoted = |path: &Path| format!("\"{}\"", path.display());
        let (cert, key, ca) = (quoted(&cert), quoted(&key), quoted(&self.ca()));
        format!("{SHIPPED}\ntls {{ cert_file: {cert}, key_file: {key}, ca_file: {ca}, timeout: 5, {more} }}\n")
    }

    fn trusted(&self, nats: NatsConfig) -> NatsConfig {
        NatsConfig { nats_tls_ca: Some(self.ca()), ..nats }
    }
}

/// A message from an edge to a worker.
async fn check_works(server: &NatsServer, edge: NatsConfig, worker: NatsConfig) {
    let config = Config::default();
    server.set_up(&config).await;
    let edge = Bus::nats(&config, &server.at(edge), "edge").await.unwrap();
    let worker = Bus::nats(&config, &server.at(worker), "worker").await.unwrap();
    let message: protocol::Message =
        serde_json::from_str(include_str!("../../protocol/fixtures/message.json")).unwrap();
    edge.submit(&message).await.unwrap();
    let delivery = worker.messages().await.unwrap().next(1).await;
    assert_eq!(delivery.message.message_id, message.message_id);
    delivery.ack().await;
    assert_eq!((edge.refusals(), worker.refusals()), (0, 0));
}

async fn check_refused(server: &NatsServer, nats: NatsConfig, why: &str) {
    match Bus::nats(&Config::default(), &server.at(nats), "edge").await.err() {
        Some(error @ ConnectError::Refused(_)) => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("{other:?} instead of: {why}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_its_authority_a_server_is_trusted() {
    let authority = Authority::new();
    let server = NatsServer::start_with(&authority.guards(""), authority.trusted(user("admin"))).await;
    check_works(&server, authority.trusted(user("edge")), authority.trusted(user("worker"))).await;
    let signed_by_nobody = "signed by nobody who is trusted here";
    check_refused(&server, Authority::new().trusted(user("edge")), signed_by_nobody).await;
    check_refused(&server, user("edge"), signed_by_nobody).await;
    check_refused(&server, authority.trusted(user("nobody")), "does not know this user").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_shows_a_certificate_where_one_is_asked_for() {
    let authority = Authority::new();
    let shows = |role: &str, authority: &Authority, signer: &Authority| {
        let (cert, key) = signer.signs(role);
        let (nats_tls_cert, nats_tls_key) = (Some(cert), Some(key));
        NatsConfig { nats_tls_cert, nats_tls_key, ..authority.trusted(user(role)) }
    };
    let config = authority.guards("verify: true");
    let server = NatsServer::start_with(&config, shows("admin", &authority, &authority)).await;
    check_works(&server, shows("edge", &authority, &authority), shows("worker", &authority, &authority)).await;
    let wants = "wants a certificate of this role";
    check_refused(&server, authority.trusted(user("edge")), wants).await;
    check_refused(&server, shows("edge", &authority, &Authority::new()), wants).await;
}

/// Somebody in between says that there is no TLS: then nothing is said, the password first of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_nothing_is_said_where_it_is_wanted() {
    let authority = Authority::new();
    let server = NatsServer::start_guarded().await;
    check_refused(&server, authority.trusted(user("edge")), "does not speak TLS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_nkey_is_as_good_as_a_password() {
    let (edge_seed, edge) = new_nkey();
    let (worker_seed, worker) = new_nkey();
    let with = |config: &str, role: &str, key: &str| {
        let name = format!("user: \"{role}\", password: $NATS_{}_PASSWORD", role.to_uppercase());
        let replaced = config.replace(&name, &format!("nkey: \"{key}\""));
        assert_ne!(replaced, config);
        replaced
    };
    let config = with(&with(SHIPPED, "edge", &edge), "worker", &worker);
    let server = NatsServer::start_with(&config, user("admin")).await;
    let has = |seed: &str| NatsConfig { nats_nkey: Some(seed.into()), ..NatsConfig::default() };
    check_works(&server, has(&edge_seed), has(&worker_seed)).await;
    let (stranger, _) = new_nkey();
    check_refused(&server, has(&stranger), "does not know this user").await;
    // The key of the worker has the worker's rights.
    let as_worker = Bus::nats(&Config::default(), &server.at(has(&worker_seed)), "edge").await.unwrap();
    as_worker.ping().await.unwrap_err();
}

/// A wrong setting is named, and what is secret in it is not shown.
#[tokio::test]
async fn settings_that_can_not_be_stop_the_start() {
    let check = async |nats: NatsConfig, why: &str| {
        let nats = NatsConfig { nats_url: "nats://127.0.0.1:1".into(), ..nats };
        match Bus::nats(&Config::default(), &nats, "edge").await.err() {
            Some(ConnectError::Settings(text)) => {
                assert!(text.contains(why), "{text}");
                assert!(!text.contains("SUAM-s3cret"), "{text}");
            }
            other => panic!("{other:?} instead of: {why}"),
        }
        assert!(!format!("{nats:?}").contains("s3cret"));
    };
    let with = NatsConfig::default;
    let missing = || Some(PathBuf::from("/nowhere/file.pem"));
    check(NatsConfig { nats_user: Some("edge".into()), ..with() }, "go together").await;
    check(NatsConfig { nats_password: Some("s3cret".into()), ..with() }, "go together").await;
    check(NatsConfig { nats_nkey: Some("SUAM-s3cret".into()), ..with() }, "NATS_NKEY is not the seed of a user").await;
    let both = NatsConfig { nats_nkey: Some(new_nkey().0.into()), ..user("edge") };
    check(both, "in the place of NATS_USER").await;
    check(NatsConfig { nats_tls_ca: missing(), ..with() }, "NATS_TLS_CA, /nowhere/file.pem").await;
    let authority = Authority::new();
    let (cert, key) = authority.signs("edge");
    let trusting = || authority.trusted(with());
    check(NatsConfig { nats_tls_cert: Some(cert.clone()), ..trusting() }, "go together").await;
    let half = NatsConfig { nats_tls_cert: Some(cert.clone()), nats_tls_key: Some(key), ..with() };
    check(half, "NATS_TLS_CERT needs NATS_TLS_CA").await;
    let gone = NatsConfig { nats_tls_cert: Some(cert), nats_tls_key: missing(), ..trusting() };
    check(gone, "NATS_TLS_KEY, /nowhere/file.pem").await;
}
