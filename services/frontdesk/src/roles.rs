//! Builds each role from its settings, starts it, and stops it in the direction of the flow: edge, worker, analytics,
//! bus.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bus::Bus;
use runtime::{Secret, http::Counts, metrics::Metrics, ops::Ready, stop, telemetry::Telemetry};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::cli::{AllInOne, AnalyticsRole, EdgeRole, Healthcheck, Keys, NatsSetup, OverNats, Role, WorkerRole};

/// How long facts and acknowledgements get to leave the process at its end.
const FLUSH: Duration = Duration::from_secs(3);

/// Share of the edge's drain time that the worker in the same process has.
const WORKER_DRAIN: f64 = 0.6;
/// How long a start waits for NATS before it goes on: a role is there, and not ready, without it.
const CONNECT: Duration = Duration::from_secs(2);

pub(crate) async fn all_in_one(mut settings: AllInOne, telemetry: &Telemetry) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let signal = stop::on_signal()?;
    settings.edge.demo = true;
    let made = [
        fill("JWT_SECRET_KEY", &mut settings.edge.jwt_secret_key),
        fill("SESSION_SECRET_KEY", &mut settings.worker.session_secret_key),
    ];
    let made: Vec<&str> = made.into_iter().flatten().collect();
    if !made.is_empty() {
        tracing::info!("made throw-away secrets for {}: sessions end with this process", made.join(" and "));
    }
    go_together(&settings)?;
    allow_files(settings.edge.listener.max_connections);
    let demo = match (&settings.worker.n8n.webhook_url, &settings.worker.n8n_sites_file) {
        (Some(_), _) | (_, Some(_)) => None,
        (None, None) => {
            let demo = worker::demo::Demo::friendly(([127, 0, 0, 1], 0).into()).await.context("the demo's port")?;
            settings.worker.n8n.webhook_url = Some(demo.url().clone());
            tracing::info!("no N8N_WEBHOOK_URL: a demo answers in the place of n8n");
            Some(demo)
        }
    };
    settings.worker.check()?;
    let bus = Bus::local(&settings.bus);
    let process = Metrics::new(settings.edge.metrics_token.clone());
    telemetry.register(&process);
    runtime::process::register(&process);
    count_losses(&bus, &process);
    let listener = listen(settings.edge.address()).await?;
    let address = (settings.edge.listener.is_tls(), listener.local_addr()?);
    let dashboard = open_dashboard(&mut settings.analytics).await?;
    let queue_timeout = settings.bus.queue_timeout;

    // There is no other edge to move to: replies are over, or ended as interrupted, while this one still shows them.
    settings.worker.drain_timeout = settings.edge.drain_timeout.mul_f64(WORKER_DRAIN);
    // Each stage ends when the one before it is done; all end when any of them fails.
    let worker_done = CancellationToken::new();
    let edge = async {
        let result =
            edge::run(settings.edge, listener, bus.clone(), queue_timeout, process.clone(), signal.clone()).await;
        signal.cancel();
        result
    };
    let worker = async {
        let result = run_worker(&tasks, settings.worker, bus.clone(), queue_timeout, &process, signal.clone()).await;
        signal.cancel();
        worker_done.cancel();
        result
    };
    let (health, api_stop) = (analytics::Health::default(), CancellationToken::new());
    if let Some(listener) = dashboard {
        let (config, health, process) = (settings.analytics.clone(), health.clone(), process.clone());
        let ready: Ready = Arc::new({
            let health = health.clone();
            move || health.check()
        });
        // The edge's listener is the one whose counts are shown.
        let api = analytics::serve(listener, config, health, ready, process, Counts::default(), api_stop.clone());
        tasks.spawn(api);
    }
    let analytics = async {
        let result = analytics::run(settings.analytics, bus.clone(), &health, &process, worker_done.clone()).await;
        signal.cancel();
        result
    };
    announce(address.0, address.1);
    // Analytics is begun first: then it can be asked, and will answer, when the edge asks what limits counted before.
    let (analytics, edge, worker) = tokio::join!(biased; analytics, edge, worker);
    bus.close(FLUSH).await;
    api_stop.cancel();
    if let Some(demo) = demo {
        demo.stop().await;
    }
    edge?;
    worker?;
    analytics?;
    end(&tasks).await;
    Ok(())
}

pub(crate) async fn edge(settings: EdgeRole, telemetry: &Telemetry) -> anyhow::Result<()> {
    check_edge(&settings)?;
    allow_files(settings.edge.listener.max_connections);
    let signal = stop::on_signal()?;
    let process = Metrics::new(settings.edge.metrics_token.clone());
    telemetry.register(&process);
    runtime::process::register(&process);
    let bus = connect(&settings.over, "edge", &process).await?;
    let listener = listen(settings.edge.address()).await?;
    announce(settings.edge.listener.is_tls(), listener.local_addr()?);
    edge::run(settings.edge, listener, bus.clone(), settings.over.bus.queue_timeout, process, signal).await?;
    bus.close(FLUSH).await;
    Ok(())
}

pub(crate) async fn worker(settings: WorkerRole, telemetry: &Telemetry) -> anyhow::Result<()> {
    check_worker(&settings)?;
    let tasks = TaskTracker::new();
    let signal = stop::on_signal()?;
    let process = Metrics::new(settings.ops.metrics_token);
    telemetry.register(&process);
    runtime::process::register(&process);
    let bus = connect(&settings.over, "worker", &process).await?;
    let ops_stop = CancellationToken::new();
    serve_ops(&tasks, settings.worker.worker_addr, &process, connected(&bus), &ops_stop).await?;
    let queue_timeout = settings.over.bus.queue_timeout;
    run_worker(&tasks, settings.worker, bus.clone(), queue_timeout, &process, signal.clone()).await?;
    bus.close(FLUSH).await;
    ops_stop.cancel();
    signal.cancel();
    end(&tasks).await;
    Ok(())
}

pub(crate) async fn analytics(settings: AnalyticsRole, telemetry: &Telemetry) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let signal = stop::on_signal()?;
    check_analytics(&settings)?;
    let process = Metrics::new(settings.ops.metrics_token);
    telemetry.register(&process);
    runtime::process::register(&process);
    let config = settings.analytics.on_disk();
    let bus = connect(&settings.over, "analytics", &process).await?;
    let (health, api_stop) = (analytics::Health::default(), CancellationToken::new());
    let listener = listen(config.analytics_addr).await?;
    announce(false, listener.local_addr()?);
    let (ready, counts) = (health.ready(&bus), Counts::default());
    counts.register(&process);
    let api =
        analytics::serve(listener, config.clone(), health.clone(), ready, process.clone(), counts, api_stop.clone());
    tasks.spawn(api);
    analytics::run(config, bus.clone(), &health, &process, signal.clone()).await?;
    bus.close(FLUSH).await;
    api_stop.cancel();
    signal.cancel();
    end(&tasks).await;
    Ok(())
}

/// Whether the all-in-one mode would start with these settings; what it makes itself may be absent.
pub(crate) fn check_all_in_one(settings: &AllInOne) -> anyhow::Result<()> {
    let mut settings = settings.clone();
    fill("JWT_SECRET_KEY", &mut settings.edge.jwt_secret_key);
    fill("SESSION_SECRET_KEY", &mut settings.worker.session_secret_key);
    settings.edge.demo = true;
    go_together(&settings)?;
    let demo = settings.worker.n8n.webhook_url.is_none() && settings.worker.n8n_sites_file.is_none();
    if !demo {
        settings.worker.check()?;
    }
    Ok(())
}

fn go_together(settings: &AllInOne) -> anyhow::Result<()> {
    settings.edge.check()?;
    settings.analytics.check()?;
    long_enough(&settings.bus, &settings.worker)?;
    remembers_ends(&settings.bus, &settings.edge)?;
    let (edge, session) = (&settings.edge, settings.worker.session_secret_key.as_ref());
    different("JWT_SECRET_KEY", edge.jwt_secret_key.as_ref(), session)?;
    different("IDENTITY_SECRET", edge.identity.secret.as_ref(), session)
}

/// Whether an edge would start with these settings.
pub(crate) fn check_edge(settings: &EdgeRole) -> anyhow::Result<()> {
    settings.edge.check()?;
    remembers_ends(&settings.over.bus, &settings.edge)
}

/// Whether a worker would.
pub(crate) fn check_worker(settings: &WorkerRole) -> anyhow::Result<()> {
    settings.worker.check()?;
    long_enough(&settings.over.bus, &settings.worker)
}

/// Whether analytics would.
pub(crate) fn check_analytics(settings: &AnalyticsRole) -> anyhow::Result<()> {
    Ok(settings.analytics.check()?)
}

#[expect(clippy::print_stdout, reason = "what it did is what was asked for")]
pub(crate) async fn nats_setup(settings: NatsSetup) -> anyhow::Result<()> {
    for line in bus::setup(&settings.over.bus, &settings.over.nats, &settings.setup).await? {
        println!("{line}");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "they are what was asked for")]
pub(crate) fn keys(which: &Keys) {
    if which.nats {
        println!(
            "# Passwords of the users of nats/nats-server.conf, for the environment of nats-server. Each role gets"
        );
        println!("# its own one as NATS_PASSWORD, with NATS_USER=edge, worker, analytics, or admin (nats-setup).");
        for role in ["EDGE", "WORKER", "ANALYTICS", "ADMIN"] {
            // nats-server would read a number into a password that begins with a digit.
            println!("NATS_{role}_PASSWORD=pw{}", Secret::generate().expose());
        }
        return;
    }
    if which.nkey {
        let (seed, public) = bus::new_nkey();
        println!("# For nats-server, in the place of a user's name and password: {{ nkey: {public}, ... }}");
        println!("NATS_NKEY={seed}");
        return;
    }
    println!("# Signs the visitors' session tokens; all edges need the same one.");
    println!("JWT_SECRET_KEY={}", Secret::generate().expose());
    println!("# Signs the visitor's token for n8n (jwt_token); workers and n8n's JWT credential need the same one.");
    println!("SESSION_SECRET_KEY={}", Secret::generate().expose());
    println!("# What your webhook's Header Auth credential (X-API-Key) expects; workers and n8n need the same one.");
    println!("N8N_API_KEY={}", Secret::generate().expose());
    println!("# Signs you in at the dashboard and the API of analytics, which show all that analytics knows.");
    println!("ADMIN_TOKEN={}", Secret::generate().expose());
    println!(
        "# Only for customers who are signed in at the shop, see docs/identity; edges and the shop's server need it."
    );
    println!("# IDENTITY_SECRET={}", Secret::generate().expose());
}

pub(crate) async fn healthcheck(check: Healthcheck) -> anyhow::Result<()> {
    let address = match check.role {
        Role::Edge => {
            let host = check.api_host.unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
            reachable(SocketAddr::new(host, check.api_port))
        }
        Role::Worker => reachable(check.worker_addr),
        Role::Analytics => reachable(check.analytics_addr),
    };
    let tls = matches!(check.role, Role::Edge) && check.tls_cert.is_some();
    // The certificate is for the name that visitors use, and this asks by address on this machine. Nothing secret is
    // said. Whoever names another place has it checked.
    let by_address = check.url.is_none();
    let url = check.url.unwrap_or_else(|| format!("{}://{address}/health/ready", scheme(tls)));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2));
    let client = client.tls_danger_accept_invalid_certs(tls && by_address).build()?;
    let status = client.get(&url).send().await.with_context(|| format!("no answer from {url}"))?.status();
    anyhow::ensure!(status.is_success(), "{url} answered {status}");
    Ok(())
}

/// A role that listens everywhere is asked on the loopback.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

/// With one secret for both, a visitor's own session token, or what the shop signs, would pass in n8n for the worker's.
fn different(name: &str, other: Option<&Secret>, session: Option<&Secret>) -> anyhow::Result<()> {
    let same = other.zip(session).is_some_and(|(other, session)| other.expose() == session.expose());
    anyhow::ensure!(!same, "{name} and SESSION_SECRET_KEY must differ; make both with `frontdesk keys`");
    Ok(())
}

/// A claim must not be forgotten while its run may still go on.
fn long_enough(bus: &bus::Config, worker: &worker::Config) -> anyhow::Result<()> {
    let (window, total) = (bus.resume_window, worker.n8n.total_timeout);
    anyhow::ensure!(
        window >= total,
        "RESUME_WINDOW ({window:?}) must not be shorter than N8N_TOTAL_TIMEOUT ({total:?})"
    );
    let (late, longest) = (worker.late_reply_ttl, bus::LONGEST_RUN);
    anyhow::ensure!(
        late.is_zero() || total.saturating_add(late) <= longest,
        "N8N_TOTAL_TIMEOUT ({total:?}) and LATE_REPLY_TTL ({late:?}) together must not be longer than {longest:?}"
    );
    Ok(())
}

/// While a session could still be refreshed, its end must not be forgotten.
fn remembers_ends(bus: &bus::Config, edge: &edge::Config) -> anyhow::Result<()> {
    let (ended, session) = (bus.ended_max_age, edge.session_max_age);
    anyhow::ensure!(
        ended >= session,
        "ENDED_MAX_AGE ({ended:?}) must not be shorter than SESSION_MAX_AGE ({session:?})"
    );
    Ok(())
}

/// Each connection is an open file, and many systems allow a thousand unless they are asked for more.
fn allow_files(connections: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
    // None is no limit at all.
    if let Some(files) = getrlimit(Resource::Nofile).current
        && usize::try_from(files).is_ok_and(|files| files <= connections)
    {
        tracing::warn!(
            "this process may open {files} files, too few for MAX_CONNECTIONS ({connections}): raise the hard limit of \
             open files (ulimit -Hn, LimitNOFILE=), or lower MAX_CONNECTIONS"
        );
    }
}

/// Makes a throw-away secret where there is none, and says of what.
fn fill(name: &'static str, secret: &mut Option<Secret>) -> Option<&'static str> {
    if secret.is_some() {
        return None;
    }
    *secret = Some(Secret::generate());
    Some(name)
}

/// As a task, because the main thread, which polls a role's own future, is none of the runtime's: each message that the
/// worker's loop takes would wake it, and then one of those.
async fn run_worker(
    tasks: &TaskTracker,
    settings: worker::Config,
    bus: Bus,
    queue_timeout: Duration,
    process: &Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let process = process.clone();
    let worker = async move { worker::run(settings, bus, queue_timeout, &process, stop).await };
    Ok(tasks.spawn(worker).await??)
}

async fn connect(over: &OverNats, role: &'static str, process: &Metrics) -> anyhow::Result<Bus> {
    let bus = Bus::nats(&over.bus, &over.nats, role).await?;
    let counted = bus.clone();
    process.count("nats_refusals", "What NATS refused: a missing right, or a limit", move || counted.refusals());
    let watched = bus.clone();
    process.whether("nats_connected", "Whether there is a connection to NATS", move || watched.connected());
    count_losses(&bus, process);
    let until = tokio::time::Instant::now() + CONNECT;
    while bus.ping().await.is_err() && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Later ones are logged and counted; now they mean that this is not the role's own user.
    anyhow::ensure!(
        !bus.denied(),
        "NATS refuses what the {role} needs (the log says what): give it the user of nats/nats-server.conf"
    );
    Ok(bus)
}

/// Shows what the bus drops or loses.
fn count_losses(bus: &Bus, process: &Metrics) {
    let count = |name, help, which: fn(bus::Losses) -> u64| {
        let bus = bus.clone();
        process.count(name, help, move || which(bus.losses()));
    };
    count("bus_facts_dropped", "Facts that found the queue full, or the stream away for too long", |lost| lost.facts);
    count("bus_facts_missed", "Facts that went from the stream before analytics came to them", |lost| lost.missed);
    count("bus_unsent", "Live events and answers that could not be sent without waiting", |lost| lost.unsent);
    count("bus_unread", "Live messages for which a listener had no room", |lost| lost.unread);
    count("bus_outages", "Times that a connection to NATS was lost", |lost| lost.outages);
    count("bus_records_dropped", "Records that went for want of room, all-in-one", |lost| lost.records);
}

/// Where the dashboard of the all-in-one mode is served; nowhere when nobody could sign in. On the loopback there is a
/// token in any case, because who tries things out should see it.
async fn open_dashboard(settings: &mut analytics::Config) -> anyhow::Result<Option<TcpListener>> {
    let wanted = settings.analytics_addr;
    let made = (!settings.has_tokens() && wanted.ip().is_loopback()).then(Secret::generate);
    if let Some(token) = &made {
        settings.admin_token = Some(token.clone());
    }
    if !settings.has_tokens() {
        tracing::info!("no dashboard: set ADMIN_TOKEN, which `frontdesk keys` makes, or leave ANALYTICS_ADDR out");
        return Ok(None);
    }
    let listener = match TcpListener::bind(wanted).await {
        // Nobody asked for this very port, and the chat matters more.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && wanted == analytics::DEFAULT_ADDR => {
            tracing::warn!("{wanted} is taken: the dashboard gets another port; ANALYTICS_ADDR chooses one");
            listen(SocketAddr::new(wanted.ip(), 0)).await?
        }
        bound => bound.with_context(|| format!("ANALYTICS_ADDR: can't listen on {wanted}"))?,
    };
    let address = listener.local_addr()?;
    match made {
        Some(token) => tracing::info!(
            "dashboard on http://{address}/, token for this run: {} (ADMIN_TOKEN sets a lasting one)",
            token.expose()
        ),
        None => tracing::info!("dashboard on http://{address}/, sign in with ADMIN_TOKEN"),
    }
    Ok(Some(listener))
}

pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))
}

/// The one line on standard output that says where the process can be reached.
#[expect(clippy::print_stdout, reason = "the contract promises this line")]
pub(crate) fn announce(tls: bool, address: SocketAddr) {
    println!("listening on {}://{address}", scheme(tls));
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

async fn serve_ops(
    tasks: &TaskTracker,
    address: SocketAddr,
    process: &Metrics,
    ready: Ready,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = listen(address).await?;
    announce(false, listener.local_addr()?);
    tasks.spawn(runtime::ops::run(listener, process.clone(), ready, stop.clone()));
    Ok(())
}

fn connected(bus: &Bus) -> Ready {
    let bus = bus.clone();
    Arc::new(move || bus.missing().map_or(Ok(()), |lacks| Err(format!("waiting for NATS: {lacks}"))))
}

/// Waits for what was spawned, which ends with the stop.
async fn end(tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(FLUSH, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
}
