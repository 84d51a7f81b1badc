"""The stack as Docker sees it: what runs, and how it is changed."""
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

FOLDER = pathlib.Path(os.environ["STACK"])
COMPOSE = os.environ["COMPOSE"].split()
PROJECT = os.environ["COMPOSE_PROJECT_NAME"]
# Over in a moment, by design.
ONCE = ("nats-setup", "nats-volume", "nats-volume-2", "nats-volume-3")


class NotRun(Exception):
    """Why a check can't be made here."""


def run(*command, timeout=240):
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
    return done.stdout


def compose(*arguments):
    return run(*COMPOSE, *arguments)


def containers(service=None):
    """What `docker inspect` says of each container of the stack, or of a service."""
    filters = [f"label=com.docker.compose.project={PROJECT}"]
    if service:
        filters.append(f"label=com.docker.compose.service={service}")
    ids = run("docker", "ps", "-aq", *(part for one in filters for part in ("--filter", one))).split()
    return json.loads(run("docker", "inspect", *ids)) if ids else []


def service(container):
    return container["Config"]["Labels"]["com.docker.compose.service"]


def is_well(container):
    state = container["State"]
    if service(container) in ONCE:
        return state["Status"] == "exited" and state["ExitCode"] == 0
    return state["Status"] == "running" and state.get("Health", {}).get("Status", "healthy") == "healthy"


def until(what, say, seconds=90):
    """Waits for `what` to return something; what it returned."""
    began, problem = time.monotonic(), None
    while time.monotonic() - began < seconds:
        try:
            if answer := what():
                return answer
        except (OSError, AssertionError, ValueError, KeyError, IndexError) as error:
            problem = error
        time.sleep(0.3)
    raise AssertionError(f"{say}: not after {seconds} s ({problem})")


def until_well(seconds=120):
    def well():
        ill = [f"{c['Name']} {c['State']['Status']}" for c in containers() if not is_well(c)]
        assert not ill, ill
        return True
    until(well, "all containers are well", seconds)


def crash(container):
    """kill -9 of the container's process: a crash and no operator's stop. Seconds until it is well again."""
    name, pid, began = container["Name"], container["State"]["Pid"], time.monotonic()
    # An engine elsewhere (Docker Desktop, another host) counts processes for itself.
    try:
        ours = container["Id"] in pathlib.Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        if ours:
            os.kill(pid, signal.SIGKILL)
    except (OSError, PermissionError) as error:
        raise NotRun(f"the processes of containers can't be reached from here: {error}") from error
    if not ours:
        raise NotRun("the engine's processes are not of this machine")

    def back():
        now = json.loads(run("docker", "inspect", name))[0]
        return now["State"]["Pid"] not in (0, pid) and is_well(now)
    until(back, f"{name} is back")
    return time.monotonic() - began


def get(port, path, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def status(port, path, method="GET", headers=None):
    """Status, headers and text, also of a refusal."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.headers, refusal.read().decode("utf-8", "replace")


def streams(server="nats"):
    """Each stream of NATS: how many messages it holds, and on how many servers."""
    name = containers(server)[0]["Name"].lstrip("/")
    page = run("docker", "exec", name, "wget", "-qO-", "http://127.0.0.1:8222/jsz?accounts=1&streams=1&config=1")
    details = json.loads(page)["account_details"][0]["stream_detail"]
    return {one["name"]: (one["state"]["messages"], one["config"]["num_replicas"]) for one in details}
