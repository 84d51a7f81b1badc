//! All tiers together, by a clock that only moves when it is told to.

use std::{collections::BTreeMap, net::Ipv4Addr};

use bus::{Bus, ToKeeper};
use protocol::{CountsAsk, Key};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
    let carry =
        |from: &Limits, to: &Limits| from.outbox.drain("e", from.now()).iter().for_each(|charges| to.hear(charges));
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
    let told = here.outbox.drain("e", here.now());
    assert!(told.iter().all(|charges| charges.tier != Tier::IpDay || charges.charges.iter().all(|(_, n)| *n == 1)));
}

/// Keeps counts as analytics does, and answers in parts of one caller. `answer` may make something else of it.
fn keep(bus: &Bus, answer: fn(Counts) -> Option<Counts>) {
    let bus = bus.clone();
    TaskTracker::new().spawn(async move {
        let mut keeper = bus.keep_counts().await.unwrap();
        let mut kept: BTreeMap<(u8, u64), (u32, u32)> = BTreeMap::new();
        // Silence; to drop one would say that nobody is there.
        let mut unanswered = Vec::new();
        loop {
            match keeper.next().await {
                ToKeeper::Charges(charges) => {
                    for ((key, units), reset_ms) in charges.charges.into_iter().zip(charges.resets) {
                        let (used, until) = kept.entry((charges.tier as u8, key.0)).or_default();
                        (*used, *until) = (*used + units, reset_ms);
                    }
                }
                ToKeeper::Asked(CountsAsk { tier, from, .. }, to) => {
                    let mut all = kept.iter().filter(|((of, _), _)| *of == tier as u8).skip(from as usize);
                    let counts = all.next().map(|((_, key), (used, until))| Count(Key(*key), *used, *until));
                    let next = all.next().map(|_| from + 1);
                    match answer(Counts { v: 1, tier, counts: counts.into_iter().collect(), next }) {
                        Some(counts) => to.send(counts),
                        None => unanswered.push(to),
                    }
                }
            }
        }
    });
}

/// Starts an edge on this bus, and waits until it would serve.
async fn start(args: &[&str], bus: &Bus) -> Arc<Limits> {
    let edge = limits(args);
    TaskTracker::new().spawn(share(Arc::clone(&edge), bus.clone(), CancellationToken::new()));
    edge.settled().await;
    edge
}

fn snapshots(limits: &Limits) -> [u64; 3] {
    [Snapshot::RESTORED, Snapshot::ABSENT, Snapshot::FAILED]
        .map(|outcome| limits.metrics.limit_snapshots.get_or_create(&outcome).get())
}

/// All edges are gone, and another one starts: who was refused is refused, for as long.
#[tokio::test(start_paused = true)]
async fn an_edge_that_starts_goes_on_from_what_was_counted() {
    let args = ["--rate-limit-session-per-minute=5", "--messages-per-day-ip=7"];
    let bus = Bus::local(&bus::Config::default());
    keep(&bus, Some);
    tokio::task::yield_now().await;
    let before = start(&args, &bus).await;
    assert!(before.is_settled());
    for _ in 0..5 {
        assert!(say(&before, IP, 1).is_ok());
    }
    assert_eq!(say(&before, IP, 1), Err((Scope::Session, Over::Minute, 12)));
    // An accepted message that is refused after all, and one that is not accepted, are nobody's.
    drop(before.message(IP, &session(3), &site()).unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;

    let after = start(&args, &bus).await;
    assert_eq!(snapshots(&after), [1, 0, 0]);
    assert!(after.metrics.limit_callers_restored.get() >= 4, "an address, two sessions, a site");
    let refused = say(&after, IP, 1).unwrap_err();
    assert!(matches!(refused, (Scope::Session, Over::Minute, 10..=12)), "{refused:?}");
    assert!(say(&after, IP, 2).is_ok() && say(&after, IP, 2).is_ok());
    let (scope, over, wait) = say(&after, IP, 2).unwrap_err();
    assert_eq!((scope, over), (Scope::Ip, Over::Day), "five before and two now are seven");
    assert!((86_397..=86_400).contains(&wait), "the day began with the first message: {wait}");
}

/// Nobody keeps counts, or who does is silent: an edge starts in time all the same, and asks again when there is somebody.
#[tokio::test(start_paused = true)]
async fn an_edge_waits_for_no_counts() {
    let args = ["--rate-limit-session-per-minute=5"];
    let bus = Bus::local(&bus::Config::default());
    let began = Instant::now();
    let alone = start(&args, &bus).await;
    assert_eq!((began.elapsed(), alone.is_settled(), snapshots(&alone)), (Duration::ZERO, true, [0, 1, 0]));

    keep(&bus, |_| None);
    tokio::task::yield_now().await;
    let began = Instant::now();
    let unheard = start(&args, &bus).await;
    assert!(began.elapsed() <= restore::WITHIN);
    while snapshots(&unheard) == [0, 0, 0] {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(unheard.is_settled() && snapshots(&unheard) == [0, 0, 1]);

    keep(&bus, Some);
    let announce = async {
        loop {
            bus.announce_analytics("a");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let told = async {
        while snapshots(&alone)[0] + snapshots(&unheard)[0] < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! { () = announce => {}, told = tokio::time::timeout(Duration::from_secs(10), told) => assert!(told.is_ok(), "{:?} {:?}", snapshots(&alone), snapshots(&unheard)) }
}

/// Answers that make no sense end, and change nothing.
#[tokio::test(start_paused = true)]
async fn counts_that_make_no_sense_are_not_believed() {
    let tricks: [fn(Counts) -> Option<Counts>; 3] = [
        |counts| Some(Counts { next: Some(0), ..counts }),
        |counts| Some(Counts { tier: Tier::Late, ..counts }),
        |counts| Some(Counts { v: 2, ..counts }),
    ];
    for trick in tricks {
        let bus = Bus::local(&bus::Config::default());
        keep(&bus, trick);
        tokio::task::yield_now().await;
        let edge = start(&["--rate-limit-session-per-minute=5"], &bus).await;
        assert_eq!((snapshots(&edge), edge.is_settled()), ([0, 0, 1], true));
    }
    let edge = limits(&["--rate-limit-session-per-minute=5"]);
    let key = Key(edge.keys.session(&session(1)));
    let counts = vec![Count(key, u32::MAX, u32::MAX), Count(Key(0), 0, 0)];
    assert_eq!(edge.restore(&Counts { v: 1, tier: Tier::Session, counts, next: None }), 2);
    assert_eq!(say(&edge, IP, 1), Err((Scope::Session, Over::Minute, 12)), "all of the quota, and no more");
}

#[test]
fn a_tier_and_its_quotas_agree() {
    let on = ["ip", "create", "session", "site", "late"].map(|scope| match scope {
        "ip" => "--rate-limit-per-minute=7".to_owned(),
        scope => format!("--rate-limit-{scope}-per-minute=7"),
    });
    let on: Vec<&str> = on.iter().map(String::as_str).chain(["--messages-per-day-site=7"]).collect();
    let limits = limits(&on);
    for tier in Tier::ALL {
        let table = limits.table(tier, None).expect("it is on");
        assert_eq!(table.quota().window(), tier.window(), "{tier:?}");
        assert_eq!(tier.is_budget(), over(tier) == Over::Day, "{tier:?}");
    }
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
            limits.outbox.drain("e", limits.now());
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
    there.hear(&Charges { v: 1, edge: String::new(), tier: Tier::Session, charges: vec![(key, 1)], resets: vec![] });
    assert_eq!((passed(&there, "strict", 1), passed(&there, "default", 2)), (1, 3));
}
