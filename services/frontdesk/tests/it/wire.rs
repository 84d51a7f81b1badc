//! Networks in which something goes wrong: one of namespaces, where packets vanish, and a proxy that is slow or freezes.

use std::{
    io::Write as _,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, watch},
    time::Instant,
};

/// Tells a test that it runs in namespaces of its own.
const INSIDE: &str = "FRONTDESK_TEST_INSIDE";

/// Near is where the test and the roles are, far is where NATS is; between them lies a router of which nothing comes back
/// when it does not forward: no reset, and no word that nobody is there.
const LAY: &str = "set -e
mount -t tmpfs none /run
ip link set lo up
ip netns add wire
ip netns add far
ip link add near0 type veth peer name near1 netns wire
ip addr add 10.99.1.1/24 dev near0
ip link set near0 up
ip -n wire addr add 10.99.1.2/24 dev near1
ip -n wire link set near1 up
ip -n wire link add far1 type veth peer name far0 netns far
ip -n wire addr add 10.99.2.1/24 dev far1
ip -n wire link set far1 up
ip -n far addr add 10.99.2.2/24 dev far0
ip -n far link set far0 up
ip -n far link set lo up
ip route add 10.99.2.0/24 via 10.99.1.2
ip -n far route add default via 10.99.2.1
ip netns exec wire sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
";

/// The namespace of the far end, and the address there.
pub(crate) const FAR: (&str, &str) = ("far", "10.99.2.2");

/// A wire between near and far, in namespaces that are gone with the test.
pub(crate) struct Wire;

impl Wire {
    /// Runs the test of that name again in namespaces of its own, where it gets the wire. `None` is for the outer run,
    /// which has nothing more to do; where the machine has no namespaces to give, it says so.
    pub(crate) fn lay(test: &str) -> Option<Self> {
        if std::env::var_os(INSIDE).is_some() {
            let laid = sh(&mut Command::new("sh"), LAY);
            assert!(laid.status.success(), "{}", String::from_utf8_lossy(&laid.stderr));
            return Some(Self);
        }
        run_inside(test, &["-nm"], LAY);
        None
    }

    /// From now on packets vanish.
    pub(crate) fn cut(&self) {
        self.forward("0");
    }

    /// And now they arrive again.
    pub(crate) fn heal(&self) {
        self.forward("1");
    }

    #[expect(clippy::unused_self, reason = "there is a wire only where one was laid")]
    fn forward(&self, whether: &str) {
        let set = format!("echo {whether} > /proc/sys/net/ipv4/ip_forward");
        let done = Command::new("ip").args(["netns", "exec", "wire", "sh", "-c", &set]).status();
        assert!(done.expect("ip can be run").success());
    }
}

/// Runs a test again under `unshare` with these namespaces, if `trial` shows that it can; as root of this machine, or of a
/// user namespace.
pub(crate) fn run_inside(test: &str, namespaces: &[&str], trial: &str) {
    let mut refused = String::new();
    for user in [&[][..], &["-Ur"][..]] {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(user).args(namespaces);
            unshare
        };
        let tried = sh(unshare().arg("sh"), trial);
        if !tried.status.success() {
            refused = String::from_utf8_lossy(&tried.stderr).lines().last().unwrap_or("no word").to_owned();
            continue;
        }
        let me = std::env::current_exe().expect("it runs");
        let run = unshare().arg(me).args(["--exact", test, "--nocapture"]).env(INSIDE, "yes").output();
        let run = run.expect("unshare can be run");
        let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    // Past the capture of passing tests: that this one did nothing must be seen.
    writeln!(std::io::stderr(), "{test}: not run (no namespaces here: {refused})").ok();
}

/// Whether this is the run in namespaces.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

fn sh(command: &mut Command, script: &str) -> Output {
    command.args(["-c", script]).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A TCP proxy to NATS that can be slow, and can freeze.
pub(crate) struct Proxy {
    pub(crate) url: String,
    delay_ms: Arc<AtomicU64>,
    frozen: watch::Sender<bool>,
}

impl Proxy {
    /// Before the server at this `nats://` address.
    pub(crate) async fn before(nats: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("nats://{}", listener.local_addr().expect("it listens"));
        let to = nats.strip_prefix("nats://").expect("an address of NATS").to_owned();
        let (delay_ms, frozen) = (Arc::new(AtomicU64::new(0)), watch::Sender::new(false));
        tokio::spawn({
            let (delay_ms, frozen) = (Arc::clone(&delay_ms), frozen.clone());
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    let Ok(far) = TcpStream::connect(&to).await else { continue };
                    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                    tokio::spawn(pump(near_read, far_write, Arc::clone(&delay_ms), frozen.subscribe()));
                    tokio::spawn(pump(far_read, near_write, Arc::clone(&delay_ms), frozen.subscribe()));
                }
            }
        });
        Self { url, delay_ms, frozen }
    }

    /// Each way takes this much longer.
    pub(crate) fn delay(&self, delay_ms: u64) {
        self.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// Nothing goes through until it thaws.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

/// Hands bytes on, each when its time has come.
async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    delay_ms: Arc<AtomicU64>,
    mut frozen: watch::Receiver<bool>,
) {
    let (queue, mut queued) = mpsc::channel::<(Instant, Vec<u8>)>(1_000);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(size @ 1..) = from.read(&mut buffer).await {
            let due = Instant::now() + Duration::from_millis(delay_ms.load(Ordering::Relaxed));
            if queue.send((due, buffer[..size].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = queued.recv().await {
            tokio::time::sleep_until(due).await;
            if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
