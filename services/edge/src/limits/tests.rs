//! All tiers together, by a clock that only moves when it is told to.

use std::net::Ipv4Addr;

use super::*;
use crate::tests::config;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// An edge's limits; those that are not named are off.
fn limits(args: &[&str]) -> Arc<Limits> {
    let off = ["ip", "session", "site", "create"].map(|scope| match scope {
        "ip" => "--rate-limit-per-minute=0".to_owned(),
        scope => format!("--rate-limit-{scope}-per-minute=0"),
    });
    let named: Vec<&str> = args.iter().map(|arg| arg.split('=').next().unwrap()).collect();
    let off = off.iter().map(String::as_str).filter(|arg| !named.contains(&arg.split('=').next().unwrap()));
    let args: Vec<&str> = off.chain(args.iter().copied()).collect();
    let config = config(&args);
    let metrics = Arc::new(Metrics::new(&runtime::metrics::Metrics::new(None)));
    Arc::new(Limits::new(&config.limits, config.jwt_secret_key.as_ref().unwrap(), metrics))
}

fn session(n: u64) -> SessionId {
    SessionId::mint(1_767_168_909, n)
}

fn site() -> SiteId {
    SiteId::new("default").unwrap()
}

/// Sends a message that is accepted; how it stands, in the headers' words.
fn say(limits: &Arc<Limits>, ip: IpAddr, n: u64) -> Result<String, (Scope, Over, u32)> {
    let counted = limits.message(ip, &session(n), &site());
    let (standing, reserved) = counted.map_err(|refusal| (refusal.scope, refusal.over, refusal.retry_after))?;
    reserved.spend();
    Ok(words(standing))
}

fn words(standing: Option<Standing>) -> String {
    let mut headers = HeaderMap::new();
    let Some(standing) = standing else { return String::new() };
    standing.write(&mut headers);
    format!("{} {}", headers["ratelimit-policy"].to_str().unwrap(), headers["ratelimit"].to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_headers_are_right_to_the_digit() {
    let limits = limits(&["--rate-limit-session-per-minute=20"]);
    for n in 1..=8 {
        let expected = format!(r#""session";q=20;w=60 "session";r={};t={}"#, 20 - n, 3 * n);
        assert_eq!(say(&limits, IP, 1), Ok(expected));
    }
    // r=12;t=24 it was; four seconds on, one unit and a third are back, and one is taken.
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(say(&limits, IP, 1).unwrap(), r#""session";q=20;w=60 "session";r=12;t=23"#);
    for left in (0..12).rev() {
        assert!(say(&limits, IP, 1).unwrap().contains(&format!(r#"r={left};"#)));
    }
    assert_eq!(say(&limits, IP, 1), Err((Scope::Session, Over::Minute, 2)), "exactly as many as were told");
    assert!(say(&limits, IP, 2).is_ok());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(say(&limits, IP, 1).is_ok() && say(&limits, IP, 1).is_err(), "when Retry-After says so, not before");
}

#[tokio::test(start_paused = true)]
async fn the_tightest_is_told() {
    let limits = limits(&[
        "--rate-limit-session-per-minute=10",
        "--messages-per-day-session=4",
        "--messages-per-day-ip=5",
        "--rate-limit-site-per-minute=100",
    ]);
    assert_eq!(say(&limits, IP, 1).unwrap(), r#""session-day";q=4;w=86400 "session-day";r=3;t=86400"#);
    for _ in 0..3 {
        assert!(say(&limits, IP, 1).is_ok());
    }
    assert_eq!(say(&limits, IP, 1), Err((Scope::Session, Over::Day, 86_400)));
    // Another session of the address: its own budget is whole, the address' is nearly used up.
    assert_eq!(say(&limits, IP, 2).unwrap(), r#""ip-day";q=5;w=86400 "ip-day";r=0;t=86400"#);
    assert_eq!(say(&limits, IP, 3), Err((Scope::Ip, Over::Day, 86_400)));
    tokio::time::advance(Duration::from_secs(86_399)).await;
    assert_eq!(say(&limits, IP, 3), Err((Scope::Ip, Over::Day, 1)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(say(&limits, IP, 1).is_ok() && say(&limits, IP, 3).is_ok());
}

/// Whoever is refused by one limit has used up nothing of the others.
#[tokio::test(start_paused = true)]
async fn a_refused_message_costs_nothing() {
    let limits = limits(&["--rate-limit-session-per-minute=10", "--messages-per-day-site=1"]);
    assert!(say(&limits, IP, 1).is_ok());
    for _ in 0..50 {
        assert_eq!(say(&limits, IP, 1), Err((Scope::Site, Over::Day, 86_400)));
    }
    tokio::time::advance(Duration::from_secs(86_400)).await;
    assert!(say(&limits, IP, 1).is_ok());
    tokio::time::advance(Duration::from_secs(86_400)).await;
    for _ in 0..50 {
        say(&limits, IP, 2).ok();
    }
    let counted = limits.take(&[(Tier::Session, limits.keys.session(&session(2)))], None).unwrap();
    assert!(words(counted).contains("r=8;"), "one was accepted, one is this");
}

/// A message that was not accepted (busy, a repeat, no bus) counts for the minute and not for the day.
#[tokio::test(start_paused = true)]
async fn only_accepted_messages_are_of_the_budget() {
    let limits = limits(&["--rate-limit-session-per-minute=100", "--messages-per-day-session=2"]);
    for _ in 0..10 {
        drop(limits.message(IP, &session(1), &site()).unwrap());
    }
    let counted = limits.take(&[(Tier::Session, limits.keys.session(&session(1)))], None).unwrap();
    assert!(words(counted).contains("r=89;"));
    assert!(say(&limits, IP, 1).is_ok() && say(&limits, IP, 1).is_ok() && say(&limits, IP, 1).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_shadow_refuses_nobody_and_counts() {
    let limits = limits(&[
        "--limits-mode=shadow",
        "--rate-limit-per-minute=1",
        "--rate-limit-session-per-minute=1",
        "--streams-per-session=1",
    ]);
    let mut slots = Vec::new();
    for _ in 0..3 {
        assert_eq!((limits.call(IP), say(&limits, IP, 1)), (Ok(None), Ok(String::new())), "nor is anything told");
        slots.push(limits.stream(IP, &session(1)).unwrap());
    }
    let check = |scope, limit, mode, expected| {
        let counter = limits.metrics.rate_limited.get_or_create(&Limited { scope, limit, mode }).get();
        assert_eq!(counter, expected, "{scope} {limit} {mode}");
    };
    check("ip", "minute", "shadow", 2);
    check("session", "minute", "shadow", 2);
    check("session", "streams", "shadow", 2);
    check("session", "minute", "enforce", 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_makes_room() {
    let limits = limits(&["--streams-per-session=2", "--streams-per-ip=3"]);
    let refusal = |scope| Refusal { scope, over: Over::Streams, retry_after: STREAM_RETRY, standing: None };
    let slots = [1, 1, 2].map(|n| limits.stream(IP, &session(n)).unwrap());
    assert_eq!(limits.stream(IP, &session(1)).err(), Some(refusal(Scope::Session)));
    assert_eq!(limits.stream(IP, &session(3)).err(), Some(refusal(Scope::Ip)));
    drop(slots);
    assert!(limits.stream(IP, &session(1)).is_ok());
}

/// Two edges that hear each other: what one let through is used up at the other, and never counted twice.
#[tokio::test(start_paused = true)]
async fn edges_count_together() {
    let args = ["--rate-limit-session-per-minute=10", "--messages-per-day-ip=50"];
    let (here, there) = (limits(&args), limits(&args));
    let carry = |from: &Limits, to: &Limits| from.outbox.drain("e").iter().for_each(|charges| to.hear(charges));
    for _ in 0..7 {
        say(&here, IP, 1).unwrap();
    }
    carry(&here, &there);
    assert_eq!(say(&there, IP, 1).unwrap(), r#""session";q=10;w=60 "session";r=2;t=48"#);
    carry(&there, &here);
    carry(&here, &there);
    assert!(say(&here, IP, 1).unwrap().contains("r=1;"), "what was heard is not told on");
    for _ in 0..2 {
        say(&there, IP, 1).unwrap();
    }
    carry(&here, &there);
    carry(&there, &here);
    assert!(say(&there, IP, 1).is_err() && say(&here, IP, 1).is_err());
    // Eleven of ten were let through before they heard of it; nobody has to wait longer for that.
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(say(&here, IP, 1).is_ok() && say(&there, IP, 1).is_ok());
    // What was not accepted is nobody's business.
    drop(here.message(IP, &session(2), &site()).unwrap());
    let told = here.outbox.drain("e");
    assert!(told.iter().all(|charges| charges.tier != Tier::IpDay || charges.charges.iter().all(|(_, n)| *n == 1)));
}

/// What a flood of strangers costs. Not a check: run it alone, with `--release --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn a_flood_in_figures() {
    let rss = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 / 1024
    };
    let args =
        ["--rate-limit-per-minute=60", "--rate-limit-session-per-minute=20", "--messages-per-day-site=1000000000"];
    let limits = limits(&[&args[..], &["--rate-limit-site-per-minute=4000000000"]].concat());
    println!("seven tiers, nobody yet: {} KiB", rss());
    let began = std::time::Instant::now();
    for n in 0..1_000_000_u32 {
        limits.call(Ipv4Addr::from(n).into()).unwrap();
        limits.create(Ipv4Addr::from(n).into()).unwrap();
    }
    println!("a call: {:?}", began.elapsed() / 2_000_000);
    let began = std::time::Instant::now();
    for n in 0..1_000_000_u32 {
        limits.message(Ipv4Addr::from(n).into(), &session(n.into()), &site()).unwrap().1.spend();
        if n % 1000 == 0 {
            limits.outbox.drain("e");
        }
    }
    println!("a message, five tiers: {:?}; {} KiB", began.elapsed() / 1_000_000, rss());
}

/// Sessions of a site with a limit of its own go by that one, at every edge, and those of others do not notice.
#[tokio::test(start_paused = true)]
async fn a_site_may_have_its_own_limit_for_sessions() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let sites = r#"[{"id":"strict","messages_per_minute":2},{"id":"open","messages_per_minute":0}]"#;
    std::fs::write(file.path(), sites).unwrap();
    let config = config(&["--sites-file", file.path().to_str().unwrap(), "--rate-limit-session-per-minute=3"]);
    let edge = || {
        let metrics = Arc::new(Metrics::new(&runtime::metrics::Metrics::new(None)));
        let limits = Limits::new(&config.limits, config.jwt_secret_key.as_ref().unwrap(), metrics);
        Arc::new(limits.with_sites(&Sites::new(&config).unwrap(), &config.limits))
    };
    let (here, there) = (edge(), edge());
    let passed = |limits: &Arc<Limits>, site: &str, n: u64| {
        let site = SiteId::new(site).unwrap();
        let passed = (0..9).take_while(|_| {
            limits.message(IP, &session(n), &site).is_ok_and(|(_, day)| {
                day.spend();
                true
            })
        });
        passed.count()
    };
    assert_eq!((passed(&here, "strict", 1), passed(&here, "default", 2), passed(&here, "open", 3)), (2, 3, 9));
    let key = protocol::Key(there.keys.session(&session(1)));
    there.hear(&Charges { v: 1, edge: String::new(), tier: Tier::Session, charges: vec![(key, 1)] });
    assert_eq!((passed(&there, "strict", 1), passed(&there, "default", 2)), (1, 3));
}
