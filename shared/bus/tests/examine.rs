//! `frontdesk doctor` at a real nats-server, with the shipped configuration and its users: what is fine is fine, and
//! each fault is seen by the role that has it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::time::Duration;

use bus::{
    Config, ConnectError, Examined, NatsConfig, Setup, examine,
    testing::{NatsServer, SHIPPED, user},
};

const ROLES: [&str; 4] = ["edge", "worker", "analytics", "admin"];

fn wanted() -> Setup {
    // As `NatsServer::set_up` makes them.
    Setup { nats_replicas: 1, snapshots_on_disk: true, facts_max_bytes: bytesize::ByteSize::mib(64) }
}

async fn look(server: &NatsServer, role: &'static str, config: &Config) -> Examined {
    examine(config, &server.at(user(role)), &wanted(), role).await.unwrap()
}

/// Each role with its own user: no fault, and nothing of what is there was changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_fine_with_its_own_user() {
    let (server, config) = (NatsServer::start_guarded().await, Config::default());
    server.set_up(&config).await;
    for role in ROLES {
        let found = look(&server, role, &config).await;
        assert!(
            found.denied.is_empty() && found.missing.is_empty() && found.differences.is_empty(),
            "{role}: {found:?}"
        );
        assert!(found.jetstream && found.loopback && !found.encrypted && found.version.starts_with('2'), "{found:?}");
        assert!(found.round_trip.unwrap() < Duration::from_secs(1), "{found:?}");
        let writes = ["edge", "worker"].contains(&role);
        assert_eq!((found.write.is_some(), found.ahead_ms.is_some()), (writes, writes), "{role}: {found:?}");
        assert!(found.write.is_none_or(|write| write.is_ok()) && found.ahead_ms.unwrap_or(0).abs() < 2_000, "{role}");
        assert_eq!(found.unseen.len(), if role == "admin" { 0 } else { 4 }, "{role}: {:?}", found.unseen);
    }
    // All that was tried left one record, upon no session.
    let nobody = NatsServer::start().await;
    nobody.set_up(&config).await;
    for role in ROLES {
        examine(&config, &nobody.config(), &wanted(), role).await.unwrap();
    }
    let js = async_nats::jetstream::new(async_nats::connect(nobody.url()).await.unwrap());
    for (stream, messages) in [("REQ", 0), ("SNAP", 1), ("ENDED", 0), ("PROOF", 0), ("FACTS", 0)] {
        let info = js.get_stream(stream).await.unwrap().cached_info().clone();
        assert_eq!(info.state.messages, messages, "{stream}");
    }
}

/// A user of another role, or one whose rights somebody shortened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_named() {
    let config = Config::default();
    let shipped = SHIPPED
        .replace("      \"chat.req.*\" ", "      # \"chat.req.*\" ")
        .replace("\"status.worker.*\", \"status.analytics.*\", \"_INBOX.edge.>\"", "\"_INBOX.edge.>\"");
    assert_ne!(shipped, SHIPPED);
    let server = NatsServer::start_with(&shipped, user("admin")).await;
    server.set_up(&config).await;
    let found = look(&server, "edge", &config).await;
    assert_eq!(
        found.denied,
        ["publish to chat.req.*", "subscribe to status.analytics.*", "subscribe to status.worker.*"]
    );
    // The worker's user in the edge's place: its inbox is another's as well, so that no answer comes.
    let found = examine(&config, &server.at(user("worker")), &wanted(), "edge").await.unwrap();
    for right in ["publish to proof.*", "subscribe to chat.ev.*", "subscribe to its own _INBOX"] {
        assert!(found.denied.iter().any(|denied| denied == right), "{right}: {found:?}");
    }
    assert_eq!(look(&server, "worker", &config).await.denied, Vec::<String>::new());
}

/// `frontdesk nats-setup` was not run, or with other settings than the roles have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_lack_or_differ_are_named() {
    let (server, config) = (NatsServer::start_guarded().await, Config::default());
    let missing = |found: &Examined| {
        let mut missing = found.missing.clone();
        missing.sort();
        missing
    };
    let found = look(&server, "edge", &config).await;
    assert_eq!(missing(&found), ["stream ENDED", "stream FACTS", "stream PROOF", "stream REQ", "stream SNAP"]);
    assert!(found.denied.is_empty() && found.write.is_none(), "{found:?}");
    assert_eq!(missing(&look(&server, "worker", &config).await), ["stream FACTS", "stream REQ", "stream SNAP"]);
    assert_eq!(missing(&look(&server, "admin", &config).await).len(), 5);
    server.set_up(&config).await;
    let other = Config { resume_window: Duration::from_secs(60), queue_max_messages: 5, ..config };
    let found = look(&server, "edge", &other).await;
    assert_eq!(found.differences.len(), 1, "{found:?}");
    assert_eq!(found.differences[0].points, ["max_age is 900s, not 60s"]);
    let found = look(&server, "admin", &other).await;
    let of: Vec<&str> = found.differences.iter().map(|difference| difference.of.as_str()).collect();
    assert_eq!(of, ["stream REQ", "stream SNAP"]);
    let found = look(&server, "worker", &other).await;
    assert!(found.differences.iter().any(|difference| difference.of == "consumer workers"), "{found:?}");
}

/// Whoever is not let in, or finds nobody, is told at once, without being asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_or_closed_is_told_at_once() {
    let (mut server, config) = (NatsServer::start_guarded().await, Config::default());
    let wrong = NatsConfig { nats_password: Some("wrong".to_owned().into()), ..user("edge") };
    let error = examine(&config, &server.at(wrong), &wanted(), "edge").await.unwrap_err();
    assert!(matches!(&error, ConnectError::Refused(why) if why.contains("does not know this user")), "{error}");
    let half = NatsConfig { nats_password: None, ..user("edge") };
    let error = examine(&config, &server.at(half), &wanted(), "edge").await.unwrap_err();
    assert!(matches!(error, ConnectError::Settings(_)), "{error}");
    server.kill().await;
    let began = std::time::Instant::now();
    let error = examine(&config, &server.at(user("edge")), &wanted(), "edge").await.unwrap_err();
    assert!(matches!(error, ConnectError::Bus(_)) && !error.to_string().contains("pw-of"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// nats-server without JetStream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_jetstream_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut child = std::process::Command::new("nats-server")
        .args(["-a", "127.0.0.1", "-p", &port.to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let nats = NatsConfig { nats_url: format!("nats://127.0.0.1:{port}"), ..NatsConfig::default() };
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let found = loop {
        match examine(&Config::default(), &nats, &wanted(), "edge").await {
            Ok(found) => break found,
            Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!found.jetstream && found.denied.is_empty(), "{found:?}");
}
