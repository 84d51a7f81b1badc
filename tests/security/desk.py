"""A whole Frontdesk to attack: real executables on free ports of the loopback, a real nats-server, a hostile n8n.

Each process that was started here is ended here, by its own id, however the suite ends.
"""
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from client import Edge
from n8n import N8n

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "nats" / "nats-server.conf"
SHOP = "https://shop.example"
CHAT = "https://chat.shop.example"

# Off, so that a check meets only what it is about. A check of limits sets its own.
UNLIMITED = {
    "RATE_LIMIT_PER_MINUTE": "0",
    "RATE_LIMIT_SESSION_PER_MINUTE": "0",
    "RATE_LIMIT_SITE_PER_MINUTE": "0",
    "RATE_LIMIT_CREATE_PER_MINUTE": "0",
    "BOT_RULES": "off",
}
# A hostile n8n must not cost the suite minutes.
IMPATIENT = {
    "N8N_FIRST_TOKEN_TIMEOUT": "5s",
    "N8N_IDLE_TIMEOUT": "4s",
    "N8N_TOTAL_TIMEOUT": "12s",
    "N8N_CONNECT_RETRIES": "1",
    "DRAIN_TIMEOUT": "2s",
}


class Process:
    """One process of ours, with what it logs in a file."""

    def __init__(self, name, command, environment, folder):
        self.name, self.log = name, folder / f"{name}.log"
        with open(self.log, "wb") as log:
            # In a session of its own: Ctrl-C is for the suite, which then ends its processes in order.
            self.child = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.url = None

    def await_address(self, seconds=20):
        """Waits for `listening on <address>`."""
        lines = []
        reader = threading.Thread(target=lambda: lines.append(self.child.stdout.readline()), daemon=True)
        reader.start()
        reader.join(seconds)
        said = lines[0].decode() if lines else ""
        if not said.startswith("listening on "):
            raise RuntimeError(f"{self.name} did not start: {said!r}\n{self.tail()}")
        self.url = said.removeprefix("listening on ").strip()
        return self

    def tail(self):
        return "\n".join(self.text().splitlines()[-15:])

    def text(self):
        return self.log.read_bytes().decode("utf-8", "replace")

    def memory(self, field="VmRSS"):
        """MB of resident memory; `VmHWM` for the peak."""
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith(field + ":"))

    def runs(self):
        return self.child.poll() is None

    def stop(self, seconds=4):
        if self.runs():
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.child.stdout.close()


class Growth:
    """How the memory of a process changes over a block."""

    def __init__(self, process, bound):
        self.process, self.bound = process, bound

    def __enter__(self):
        self.before = self.process.memory()
        return self

    def __exit__(self, kind, *_):
        self.after = self.process.memory()

    def told(self):
        """The figure; fails where it is over the bound."""
        figure = f"RSS {self.before:.1f} -> {self.after:.1f} MB (bound +{self.bound})"
        assert self.after - self.before <= self.bound, figure
        return figure


class Desk:
    """What the checks attack."""

    def __init__(self, binary=None, base=None, edge2=None, quick=False, cache=None):
        self.binary, self.base, self.quick, self.cache = binary, base, quick, cache
        self.own = base is None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="frontdesk-attacks."))
        self.started, self.n8n, self.spread_over = [], None, None
        # Why the check that needs it can't be run.
        self.no_schemathesis = None
        self.secrets = {name: f"{name.lower()}-{secrets.token_hex(24)}" for name in ("JWT_SECRET_KEY", "SESSION_SECRET_KEY", "N8N_API_KEY", "ADMIN_TOKEN")}
        self.secrets["METRICS_TOKEN"] = f"metrics-{secrets.token_hex(16)}"
        self.passwords = {role: f"{role}-{secrets.token_hex(16)}" for role in ("edge", "worker", "analytics", "admin")}
        if base:
            self.edges = [Edge(url, public=base, patience=35 if quick else 240) for url in filter(None, (base, edge2))]

    # ---- processes ------------------------------------------------------------------------------------------------

    def launch(self, name, command, settings, address=True):
        environment = {"PATH": os.environ.get("PATH", ""), **settings}
        process = Process(f"{len(self.started):02}-{name}", [str(part) for part in command], environment, self.folder)
        self.started.append(process)
        return process.await_address() if address else process

    def frontdesk(self, role, settings):
        """One role with its settings alone: nothing of the environment, no `.env`."""
        all_settings = {
            "N8N_WEBHOOK_URL": self.hostile().url,
            "API_HOST": "127.0.0.1",
            "API_PORT": "0",
            "WORKER_ADDR": "127.0.0.1:0",
            "ANALYTICS_ADDR": "127.0.0.1:0",
            "ALLOWED_ORIGINS": f"{SHOP},https://*.stores.example",
            "PUBLIC_URL": CHAT,
            "LOG_LEVEL": "info",
            **IMPATIENT,
            **settings,
        }
        # Each role gets only the secrets that it needs, as SECURITY.md asks.
        mine = {"edge": ["JWT_SECRET_KEY"], "worker": ["SESSION_SECRET_KEY", "N8N_API_KEY"], "analytics": ["ADMIN_TOKEN"]}
        for secret in mine.get(role, ["JWT_SECRET_KEY", "SESSION_SECRET_KEY", "N8N_API_KEY", "ADMIN_TOKEN"]):
            all_settings.setdefault(secret, self.secrets[secret])
        command = [self.binary] + ([role] if role else [])
        return self.launch(role or "all-in-one", command, all_settings)

    def hostile(self):
        self.n8n = self.n8n or N8n()
        return self.n8n

    def nats(self):
        """A nats-server of its own, with the users of the repository; and how each role reaches it, as settings."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        store = self.folder / f"nats-{port}"
        server = shutil.which("nats-server") or "/usr/sbin/nats-server"
        command, environment, users = [server, "-a", "127.0.0.1", "-p", port], {}, CONFIG.is_file()
        if users:
            environment = {f"NATS_{role.upper()}_PASSWORD": password for role, password in self.passwords.items()}
            environment["NATS_STORE_DIR"] = str(store)
            command += ["-c", CONFIG]
        else:
            command += ["-js", "-sd", store]
        process = self.launch("nats-server", command, environment, address=False)
        end = time.monotonic() + 10
        while time.monotonic() < end and process.runs():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as plain:
                if plain.recv(5) == b"INFO ":
                    user = lambda role: {"NATS_USER": role, "NATS_PASSWORD": self.passwords[role]} if users else {}
                    return process, lambda role: {"NATS_URL": f"nats://127.0.0.1:{port}", **user(role)}
            time.sleep(0.02)
        raise RuntimeError(f"nats-server did not start:\n{process.tail()}")

    def deploy(self, settings=None, edges=2):
        """Edges, a worker and analytics over a NATS of their own."""
        (server, nats), settings = self.nats(), {**UNLIMITED, **(settings or {})}
        setup = self.launch("nats-setup", [self.binary, "nats-setup"], {**settings, **nats("admin")}, address=False)
        if setup.child.wait(30):
            raise RuntimeError(f"nats-setup failed:\n{setup.tail()}")
        deployment = {"server": server, "nats": nats, "edges": [self.frontdesk("edge", {**settings, **nats("edge")}) for _ in range(edges)]}
        deployment["worker"] = self.frontdesk("worker", {**settings, **nats("worker")})
        database = str(self.folder / f"facts-{len(self.started)}.redb")
        deployment["analytics"] = self.frontdesk("analytics", {**settings, **nats("analytics"), "ANALYTICS_DB_PATH": database})
        deployment["database"] = pathlib.Path(database)
        self._await_worker(self.reach(deployment["edges"][0]))
        return deployment

    def _await_worker(self, edge):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if edge.ask("GET", "/health", origin=None).json().get("checks", {}).get("workers", {}).get("count"):
                return
            time.sleep(0.05)
        raise RuntimeError("the edge sees no worker")

    @contextlib.contextmanager
    def single(self, **settings):
        """Everything in one process, for the length of a block: `(process, edge)`."""
        process = self.frontdesk("", {"ALLOW_NO_ORIGIN": "false", **UNLIMITED, **settings})
        try:
            yield process, self.reach(process, settings.get("PUBLIC_URL", CHAT))
        finally:
            process.stop()

    @staticmethod
    def reach(process, public=CHAT):
        return Edge(process.url, public, SHOP)

    # ---- what checks ask for --------------------------------------------------------------------------------------

    def spread(self):
        """The deployment that most checks share, made by the first that asks."""
        if self.spread_over is None:
            self.spread_over = self.deploy()
            self.edges = [self.reach(process) for process in self.spread_over["edges"]]
        return self.spread_over

    @property
    def edge(self):
        if self.own:
            self.spread()
        return self.edges[0]

    @property
    def other(self):
        """The second edge, or None."""
        if self.own:
            self.spread()
        return self.edges[1] if len(self.edges) > 1 else None

    def growth(self, bound, process=None):
        """Measures the first edge, or `process`, where it is ours."""
        if not self.own:
            return contextlib.nullcontext()
        return Growth(process or self.spread()["edges"][0], bound)

    def close(self):
        for process in reversed(self.started):
            with contextlib.suppress(Exception):
                process.stop()
        if self.n8n:
            self.n8n.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def end_in_order_on(*names):
    """Lets signals end the suite by way of its `finally`, processes included."""

    def end(number, _):
        for name in names:
            # A second one must not stop the stopping.
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        raise SystemExit(128 + number)

    for name in names:
        signal.signal(getattr(signal, name), end)
