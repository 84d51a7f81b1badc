use clap::Parser as _;
use proptest::prelude::*;

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    breaker: Config,
}

/// 4 calls in 10 s, of which half must fail; open for 1 s, 8 s at most.
fn config() -> Config {
    let args = ["--breaker-min-calls=4", "--breaker-window=10s", "--breaker-open-for=1s", "--breaker-open-max=8s"];
    Cli::parse_from(std::iter::once("worker").chain(args)).breaker
}

fn breaker(config: &Config) -> (Breaker, Arc<Mutex<Vec<Circuit>>>) {
    let told: Arc<Mutex<Vec<Circuit>>> = Arc::default();
    let tell = Arc::clone(&told);
    (Breaker::new(config, move |circuit| tell.lock().unwrap().push(circuit)), told)
}

fn call(breaker: &Breaker, failed: bool) {
    breaker.admit().expect("the circuit lets it pass").over(failed);
}

/// A breaker whose circuit has just opened.
fn opened(config: &Config) -> Breaker {
    let breaker = breaker(config).0;
    (0..config.min_calls).for_each(|_| call(&breaker, true));
    assert_eq!(breaker.circuit(), Circuit::Open);
    breaker
}

#[test]
fn the_defaults_are_those_of_the_readme() {
    let config = Cli::parse_from(["worker"]).breaker;
    assert_eq!((config.failure_rate, config.min_calls, config.probes), (50, 10, 1));
    assert_eq!((config.window, config.open_for), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!(config.open_max, Duration::from_secs(60));
    for bad in ["--breaker-failure-rate=101", "--breaker-min-calls=0", "--breaker-probes=0", "--breaker-window=0s"] {
        assert!(Cli::try_parse_from(["worker", bad]).is_err(), "{bad}");
    }
}

/// Half of enough calls, in any order; never fewer.
#[tokio::test(start_paused = true)]
async fn it_opens_when_enough_calls_fail() {
    let check = |rate: u8, outcomes: &str, expected: Circuit| {
        let breaker = breaker(&Config { failure_rate: rate, ..config() }).0;
        outcomes.chars().for_each(|outcome| call(&breaker, outcome == 'x'));
        assert_eq!(breaker.circuit(), expected, "{rate}% of {outcomes}");
    };
    check(50, "xxx", Circuit::Closed);
    check(50, "xxxx", Circuit::Open);
    check(50, "xx..", Circuit::Open);
    check(50, "x..x", Circuit::Open);
    check(50, "x...", Circuit::Closed);
    check(50, "x...x.", Circuit::Closed);
    check(50, "x...xx", Circuit::Open);
    check(100, "xxx.xxxxxx", Circuit::Closed);
    check(1, "...x", Circuit::Open);
    // Off.
    check(0, "xxxxxxxxxxxxxxxxxxxx", Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_window_counts_no_more() {
    let breaker = breaker(&config()).0;
    (0..3).for_each(|_| call(&breaker, true));
    tokio::time::advance(Duration::from_secs(10)).await;
    (0..3).for_each(|_| call(&breaker, true));
    assert_eq!(breaker.circuit(), Circuit::Closed);
    tokio::time::advance(Duration::from_secs(8)).await;
    call(&breaker, true);
    assert_eq!(breaker.circuit(), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn it_closes_when_a_probe_succeeds() {
    let (breaker, told) = breaker(&config());
    assert_eq!(breaker.word(), "unknown");
    call(&breaker, false);
    assert_eq!(breaker.word(), "ok");
    (0..3).for_each(|_| call(&breaker, true));
    assert_eq!((breaker.word(), breaker.admit().is_none()), ("open", true));
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(breaker.admit().is_none(), "not yet");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(breaker.word(), "half_open");
    let probe = breaker.admit().expect("one may try");
    assert!(breaker.admit().is_none(), "and only one");
    probe.over(false);
    assert_eq!(breaker.word(), "ok");
    // What failed before is forgotten.
    (0..3).for_each(|_| call(&breaker, true));
    assert_eq!(breaker.circuit(), Circuit::Closed);
    assert_eq!(*told.lock().unwrap(), [Circuit::Open, Circuit::HalfOpen, Circuit::Closed]);
}

/// An answer may take minutes; that it has begun is enough.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_answered_closes_it_at_once() {
    let breaker = opened(&config());
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut probe = breaker.admit().unwrap();
    probe.answering();
    assert_eq!(breaker.circuit(), Circuit::Closed);
    // It was counted, once.
    probe.over(true);
    (0..3).for_each(|_| call(&breaker, true));
    assert_eq!(breaker.circuit(), Circuit::Closed);
    // Another call is counted at its end.
    let mut last = breaker.admit().unwrap();
    last.answering();
    assert_eq!(breaker.circuit(), Circuit::Closed);
    last.over(true);
    assert_eq!(breaker.circuit(), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_makes_room() {
    let breaker = opened(&config());
    tokio::time::advance(Duration::from_secs(1)).await;
    drop(breaker.admit().unwrap());
    assert_eq!(breaker.circuit(), Circuit::HalfOpen);
    let probe = breaker.admit().expect("its place is free");
    assert!(breaker.admit().is_none());
    probe.over(false);
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

/// Several may try at a time; one failure is enough, and what the others bring no longer counts.
#[tokio::test(start_paused = true)]
async fn as_many_probes_as_wanted() {
    let breaker = opened(&Config { probes: 2, ..config() });
    tokio::time::advance(Duration::from_secs(1)).await;
    let (first, second) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    assert!(breaker.admit().is_none());
    first.over(true);
    assert_eq!(breaker.circuit(), Circuit::Open);
    second.over(false);
    assert_eq!(breaker.circuit(), Circuit::Open);
}

/// Calls from before it opened come back one by one: none of them opens or closes anything.
#[tokio::test(start_paused = true)]
async fn late_calls_decide_nothing() {
    let breaker = breaker(&config()).0;
    let late: Vec<Call> = (0..6).map(|_| breaker.admit().unwrap()).collect();
    (0..4).for_each(|_| call(&breaker, true));
    let mut late = late.into_iter();
    late.by_ref().take(2).for_each(|call| call.over(false));
    assert_eq!(breaker.circuit(), Circuit::Open);
    tokio::time::advance(Duration::from_secs(1)).await;
    let probe = breaker.admit().unwrap();
    late.by_ref().take(2).for_each(|call| call.over(true));
    drop(late);
    assert_eq!(breaker.circuit(), Circuit::HalfOpen);
    assert!(breaker.admit().is_none(), "a late call held no probe's place");
    probe.over(false);
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[test]
fn waits_double_up_to_the_longest() {
    let check = |config: &Config, failed: u32, expected: u64| {
        assert_eq!(config.wait(failed), Duration::from_secs(expected), "{failed}");
    };
    let config = config();
    check(&config, 1, 2);
    check(&config, 2, 4);
    check(&config, 3, 8);
    check(&config, 4, 8);
    check(&config, u32::MAX, 8);
    // A first wait above the longest is itself the longest.
    check(&Config { open_for: Duration::from_secs(30), ..config }, 3, 30);
}

/// A failed probe opens it for longer, but less up to half of that: workers don't come back together.
#[tokio::test(start_paused = true)]
async fn a_failed_probe_opens_it_for_longer() {
    let breaker = opened(&config());
    for longest in [2, 4, 8, 8] {
        tokio::time::advance(Duration::from_secs(8)).await;
        call(&breaker, true);
        assert_eq!(breaker.circuit(), Circuit::Open);
        let begun = Instant::now();
        assert_eq!(breaker.changed(Circuit::Open).await, Circuit::HalfOpen);
        let (took, longest) = (begun.elapsed(), Duration::from_secs(longest));
        // tokio's timer is precise to a millisecond.
        assert!(longest / 2 <= took && took <= longest + Duration::from_millis(1), "{took:?} of {longest:?}");
    }
}

/// Who follows it hears of each change: those that a call brings, and the one that time brings.
#[tokio::test(start_paused = true)]
async fn changes_are_heard() {
    let breaker = breaker(&config()).0;
    let follow = async {
        let mut heard = vec![Circuit::Closed];
        while heard.len() < 4 {
            heard.push(breaker.changed(heard[heard.len() - 1]).await);
        }
        heard
    };
    let act = async {
        (0..4).for_each(|_| call(&breaker, true));
        while breaker.circuit() == Circuit::Open {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The follower has its turn before the probe comes back.
        tokio::task::yield_now().await;
        call(&breaker, false);
    };
    let (heard, ()) = tokio::join!(follow, act);
    assert_eq!(heard, [Circuit::Closed, Circuit::Open, Circuit::HalfOpen, Circuit::Closed]);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Admit,
    /// The oldest call that is under way is over.
    Over {
        failed: bool,
    },
    /// The newest is dropped.
    Drop,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Admit),
        3 => any::<bool>().prop_map(|failed| Act::Over { failed }),
        1 => Just(Act::Drop),
        2 => (0..3000_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    /// Whatever happens: no call while it is open, no more probes than wanted, it opens only upon enough failures
    /// within the window, and it always lets a call pass again in the end.
    #[test]
    fn it_keeps_its_word(
        acts in proptest::collection::vec(act(), 0..200),
        rate in 1..=100_u8,
        min_calls in 1..6_u32,
        probes in 1..4_u32,
        jitter in 0.5..=1.0_f64,
    ) {
        let config = Config { failure_rate: rate, min_calls, probes, ..config() };
        let mut now = Instant::now();
        let mut machine = Machine::new(config.clone(), now);
        let (mut under_way, mut decided): (Vec<Ticket>, Vec<(Instant, bool)>) = (Vec::new(), Vec::new());
        for act in acts {
            let before = machine.look(now);
            let epoch = machine.epoch;
            match act {
                Act::Admit => {
                    let ticket = machine.admit(now);
                    match before.0 {
                        Circuit::Closed => prop_assert!(ticket.is_some_and(|ticket| !ticket.probe)),
                        Circuit::Open => prop_assert!(ticket.is_none()),
                        Circuit::HalfOpen => {}
                    }
                    under_way.extend(ticket);
                }
                Act::Over { failed } if !under_way.is_empty() => {
                    let ticket = under_way.remove(0);
                    if ticket.epoch == epoch {
                        decided.push((now, failed));
                    }
                    machine.decide(now, ticket, failed, jitter);
                    let after = machine.circuit();
                    prop_assert!(ticket.epoch == epoch || after == before.0, "a late call decided something");
                    if (before.0, after) == (Circuit::Closed, Circuit::Open) {
                        let lately = decided.iter().filter(|(at, _)| now.duration_since(*at) <= config.window);
                        let failures = lately.clone().filter(|(_, failed)| *failed).count();
                        prop_assert!(lately.count() >= min_calls as usize);
                        prop_assert!(failures * 100 >= min_calls as usize * usize::from(rate));
                    }
                    if machine.epoch != epoch {
                        decided.clear();
                    }
                }
                Act::Drop => {
                    if let Some(ticket) = under_way.pop() {
                        machine.release(ticket);
                        prop_assert_eq!(machine.epoch, epoch, "it decided something");
                    }
                }
                Act::Over { .. } => {}
                Act::Wait(ms) => now += Duration::from_millis(ms),
            }
            let probing = under_way.iter().filter(|ticket| ticket.probe && ticket.epoch == machine.epoch).count();
            prop_assert!(probing <= probes as usize);
            if let Phase::HalfOpen(counted) = machine.phase {
                prop_assert_eq!(counted as usize, probing, "a place was lost or doubled");
            }
            if let (Circuit::Open, Some(until)) = machine.look(now) {
                prop_assert!(until <= now + config.open_max);
            }
        }
        for ticket in under_way {
            machine.release(ticket);
        }
        prop_assert!(machine.admit(now + config.open_max).is_some());
    }
}
