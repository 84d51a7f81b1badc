"""A whole Frontdesk under watch: real executables, a real nats-server and a real Prometheus on free ports of the
loopback, an n8n that takes its time, and visitors. Whatever was started here is ended here, by its own id.
"""
import contextlib
import http.server
import json
import os
import pathlib
import random
import secrets
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

# Of tests/security: a process, a visitor's browser as far as HTTP goes, and what speaks n8n's lines.
from client import Edge, Stream, Visitor
from desk import CONFIG, ROOT, Process
from n8n import N8n, chunk, line

OBSERVABILITY = ROOT / "observability"
RECORDED = pathlib.Path(__file__).parent / "nats-exporter.prom"
SITES = ["default", "lamps", "garden"]
# Nobody listens where its n8n should be.
AWAY = "attic"
WORDS = "Your parcel left the warehouse this morning and will be with you tomorrow before noon .".split()
# Off, so that a few visitors of one address can be a crowd; what a limit refuses is asked for in `misbehave`.
SETTINGS = {
    "RATE_LIMIT_PER_MINUTE": "0",
    "RATE_LIMIT_CREATE_PER_MINUTE": "0",
    "RATE_LIMIT_SITE_PER_MINUTE": "0",
    "BOT_RULES": "shadow",
    "N8N_IDLE_TIMEOUT": "3s",
    "N8N_CONNECT_RETRIES": "1",
    "N8N_RETRY_BACKOFF": "50ms",
    "BREAKER_MIN_CALLS": "4",
    "WORKER_CONCURRENCY": "6",
    "DRAIN_TIMEOUT": "2s",
}


class Model(N8n):
    """An n8n whose model thinks before the first word, and says one after the other."""

    def _say(self, connection, text, number, think=None):
        time.sleep(think or min(random.lognormvariate(-1.2, 0.7), 4))
        self._start(connection)
        connection.sendall(chunk(line("begin")))
        for word in WORDS:
            time.sleep(random.uniform(0.01, 0.06))
            connection.sendall(chunk(line("item", content=word + " ")))
        connection.sendall(chunk(line("end")) + b"0\r\n\r\n")
        return True

    def _slow(self, connection, text, number):
        return self._say(connection, text, number, 3)


class Stack:
    """What is watched, and who watches."""

    def __init__(self, binary, prometheus, exporter=None, scrape=1.0):
        self.binary, self.prometheus, self.exporter, self.scrape = binary, prometheus, exporter, scrape
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="frontdesk-watched."))
        self.started, self.served, self.model = [], [], Model()
        self.url = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in reversed(self.started):
            with contextlib.suppress(Exception):
                process.stop()
        for server in self.served:
            server.shutdown()
            server.server_close()
        self.model.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- processes ------------------------------------------------------------------------------------------------

    def launch(self, name, command, settings=None, address=False):
        environment = {"PATH": os.environ.get("PATH", ""), **(settings or {})}
        process = Process(f"{len(self.started):02}-{name}", [str(part) for part in command], environment, self.folder)
        self.started.append(process)
        return process.await_address() if address else process

    def frontdesk(self, role, settings):
        all_settings = {
            "API_HOST": "127.0.0.1",
            "API_PORT": "0",
            "WORKER_ADDR": "127.0.0.1:0",
            "ANALYTICS_ADDR": "127.0.0.1:0",
            "ALLOW_NO_ORIGIN": "true",
            "NATS_URL": self.nats,
            "NATS_USER": role,
            "NATS_PASSWORD": self.passwords[role],
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.collector}",
            **SETTINGS,
            **settings,
        }
        return self.launch(role, [self.binary, role], all_settings, address=True)

    def _start(self):
        self.began = time.time()
        self.collector = self.serve(lambda: b"")
        self.passwords = {role: f"pw{secrets.token_hex(16)}" for role in ("edge", "worker", "analytics", "admin")}
        port, monitor = free_port(), free_port()
        self.nats = f"nats://127.0.0.1:{port}"
        settings = {f"NATS_{role.upper()}_PASSWORD": word for role, word in self.passwords.items()}
        settings["NATS_STORE_DIR"] = str(self.folder / "nats")
        server = shutil.which("nats-server") or "/usr/sbin/nats-server"
        self.launch("nats-server", [server, "-c", CONFIG, "-a", "127.0.0.1", "-p", port, "-m", monitor], settings)
        until("nats-server answers", lambda: b"ok" in fetch(f"http://127.0.0.1:{monitor}/healthz"))
        admin = {"NATS_URL": self.nats, "NATS_USER": "admin", "NATS_PASSWORD": self.passwords["admin"]}
        setup = self.launch("nats-setup", [self.binary, "nats-setup"], {**SETTINGS, **admin})
        if setup.child.wait(30):
            raise RuntimeError(f"nats-setup failed:\n{setup.tail()}")

        edges, workers = self.folder / "edge-sites.json", self.folder / "worker-sites.json"
        away = f"http://127.0.0.1:{free_port()}/webhook/away"
        edges.write_text(json.dumps([{"id": site} for site in [*SITES[1:], AWAY]]))
        calls = [{"id": site, "webhook_url": self.model.url} for site in SITES[1:]]
        workers.write_text(json.dumps([*calls, {"id": AWAY, "webhook_url": away}]))
        jwt, session = secrets.token_hex(24), secrets.token_hex(24)
        self.token = secrets.token_hex(24)
        self.edges = [self.frontdesk("edge", {"JWT_SECRET_KEY": jwt, "SITES_FILE": str(edges)}) for _ in range(2)]
        call = {"SESSION_SECRET_KEY": session, "N8N_WEBHOOK_URL": self.model.url, "N8N_SITES_FILE": str(workers)}
        self.workers = [self.frontdesk("worker", call) for _ in range(2)]
        database = str(self.folder / "facts.redb")
        self.analytics = self.frontdesk("analytics", {"ADMIN_TOKEN": self.token, "ANALYTICS_DB_PATH": database})
        self._watch(self._export(monitor))

    def _export(self, monitor):
        """The exporter where there is one, else what it said once."""
        if self.exporter:
            port = free_port()
            self.launch("nats-exporter", [self.exporter, "-a", "127.0.0.1", "-p", port, "-varz", "-connz", "-jsz=all", f"http://127.0.0.1:{monitor}"])
            until("the exporter answers", lambda: fetch(f"http://127.0.0.1:{port}/metrics"))
            return f"127.0.0.1:{port}"
        return self.serve(lambda: RECORDED.read_bytes())

    def serve(self, read):
        """A page of metrics on the loopback, which takes spans as well; returns its address."""

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = read()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                # Spans. An answer without bytes says that all were taken.
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.served.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_address[1]}"

    def _watch(self, nats):
        """Prometheus with the shipped configuration, in which only the addresses are of this machine."""
        at = lambda processes: [process.url.partition("://")[2] for process in processes]
        port = free_port()
        self.targets = {
            "edge": at(self.edges),
            "worker": at(self.workers),
            "analytics": at([self.analytics]),
            "nats": [nats],
            "prometheus": [f"127.0.0.1:{port}"],
        }
        config = yaml.safe_load((OBSERVABILITY / "prometheus/prometheus.yml").read_text())
        config["global"].update(scrape_interval=f"{self.scrape:g}s", scrape_timeout=f"{self.scrape:g}s", evaluation_interval="1s")
        for job in config["scrape_configs"]:
            for key in [key for key in job if key.endswith("_sd_configs")]:
                del job[key]
            # Jaeger is not here: nothing asks for its figures but its own panels.
            job["static_configs"] = [{"targets": self.targets.get(job["job_name"], [])}]
            job.pop("scrape_interval", None)
        config["rule_files"] = [str(OBSERVABILITY / "prometheus/rules/*.yml")]
        made = self.folder / "prometheus.yml"
        made.write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{port}"
        watcher = self.launch("prometheus", [
            self.prometheus, f"--config.file={made}", f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage", "--log.level=warn"])
        until("Prometheus is ready", lambda: b"Ready" in fetch(f"{self.url}/-/ready"), watcher)

    # ---- what Prometheus knows --------------------------------------------------------------------------------------

    def api(self, path, **query):
        """What its API answers; a refused query is an error with its words."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}"
        try:
            answer = json.loads(fetch(address))
        except urllib.error.HTTPError as refused:
            raise ValueError(json.loads(refused.read()).get("error", str(refused))) from None
        return answer["data"]

    def query(self, expression):
        return self.api("query", query=expression)["result"]

    def settle(self):
        """Waits until Prometheus has seen what just happened, and the roles what they look at each two seconds."""
        time.sleep(2 + 2 * self.scrape)

    # ---- visitors ---------------------------------------------------------------------------------------------------

    def visitor(self, site="default", edge=None):
        chosen = edge or random.choice(self.edges)
        return Visitor(Edge(chosen.url)).begin(**({} if site == "default" else {"site": site}))

    def chat(self, seconds, visitors=6):
        """So many visitors talk at once, for so long. Returns how many replies there were."""
        end, replies, lock = time.monotonic() + seconds, [0], threading.Lock()

        def talk(site):
            visitor = None
            while time.monotonic() < end:
                visitor = visitor if visitor and random.random() < 0.8 else self.visitor(site)
                text = random.choices(["Where is my parcel?", "[[slow]] think", "[[status=500]] fail", "[[cut]] break"], [85, 5, 6, 4])[0]
                if visitor.say(text).status == 200:
                    with lock:
                        replies[0] += 1
                time.sleep(random.uniform(0, 0.3))

        def listen():
            visitor, first = self.visitor(), True
            visitor.say("Where is my parcel?", "message-1")
            while time.monotonic() < end:
                # The second time as one who lost the connection in the middle of that reply.
                stream = Stream(visitor, headers=None if first else {"Last-Event-ID": "message-1:3"})
                stream.read_for(min(5, max(0.5, end - time.monotonic())))
                stream.close()
                first = False

        sites = [SITES[n % len(SITES)] for n in range(visitors)] + [AWAY]
        crowd = [threading.Thread(target=talk, args=(site,), daemon=True) for site in sites]
        crowd += [threading.Thread(target=listen, daemon=True) for _ in range(3)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        return replies[0]

    def look_at_analytics(self):
        """Who asks for figures, with the token and with wrong ones."""
        for token in [self.token, "wrong"]:
            request = urllib.request.Request(f"{self.analytics.url}/api/v1/analytics/summary", headers={"Authorization": f"Bearer {token}"})
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def fetch(url, seconds=5):
    with urllib.request.urlopen(url, timeout=seconds) as answer:
        return answer.read()


def until(what, true, process=None, seconds=20):
    """Waits until `true()` is; what fails meanwhile counts as no."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and (process is None or process.runs()):
        with contextlib.suppress(OSError):
            if true():
                return
        time.sleep(0.05)
    raise RuntimeError(f"not within {seconds} s: {what}" + (f"\n{process.tail()}" if process else ""))
