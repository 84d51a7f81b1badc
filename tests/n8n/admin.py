#!/usr/bin/env python3
"""Fills a fresh n8n through its own REST API (what its editor uses). Standard library only.

  admin.py URL prepare [--pid PID] --credentials FILE DIR...
      waits until n8n answers (or PID is gone), creates the owner and the credentials of FILE, publishes every
      workflow of the folders (but for those whose file ends in .inactive.json), and makes one call, since the first
      one loads the agent's code for seconds.
      ${NAME} in FILE is replaced from the environment. The workflows name their credentials and carry no ids:
      n8n finds them by name and type, as it does when a user imports the same files.
  admin.py URL executions NAME
      the last runs of the workflow of that name: id, status, when it began and ended

n8n also has command line imports. They start all of n8n for each call and leave the workflows unpublished.
"""
import argparse
import glob
import http.cookiejar
import json
import os
import string
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

OWNER = {"email": "owner@example.com", "firstName": "Test", "lastName": "Owner", "password": "Throwaway-Pass1"}
START_LIMIT = 240  # seconds for n8n to come up
WARM_UP = "/webhook/fd-stream"


class N8n:
    def __init__(self, url):
        self.url = url.rstrip("/")
        self.http = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def request(self, method, path, body=None, headers=None, timeout=60):
        """Status and body. Status 0: no HTTP answer."""
        request = urllib.request.Request(
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "browser-id": "frontdesk-tests", **(headers or {})})
        try:
            with self.http.open(request, timeout=timeout) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            return 0, str(error).encode()

    def rest(self, method, path, body=None):
        status, answer = self.request(method, "/rest" + path, body)
        if status not in (200, 201):
            sys.exit("admin.py: %s %s: %s %s" % (method, path, status, answer[:300].decode("utf-8", "replace")))
        return json.loads(answer)["data"]

    def wait(self, pid):
        began = told = time.monotonic()
        while True:
            # Readiness is true once the database and the webhooks are up; the REST API comes a moment later.
            if self.request("GET", "/healthz/readiness", timeout=2)[0] == 200 and \
                    self.request("GET", "/rest/settings", timeout=2)[0] == 200:
                break
            now = time.monotonic()
            if pid and not alive(pid):
                sys.exit("admin.py: n8n has stopped")
            if now - began > START_LIMIT:
                sys.exit("admin.py: n8n is not ready after %d s" % START_LIMIT)
            if now - told > 15:
                told = now
                print("admin.py: waiting for n8n (%d s)" % (now - began), file=sys.stderr, flush=True)
            time.sleep(0.25)
        if pid and not alive(pid):
            sys.exit("admin.py: n8n has stopped, and something else answers in its place")


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def fill_in(value):
    if isinstance(value, dict):
        return {key: fill_in(v) for key, v in value.items()}
    if isinstance(value, str):
        return string.Template(value).substitute(os.environ)
    return value


def prepare(n8n, options):
    n8n.wait(options.pid)
    n8n.rest("POST", "/owner/setup", OWNER)
    with open(options.credentials, encoding="utf-8") as file:
        for credential in json.load(file):
            n8n.rest("POST", "/credentials", fill_in(credential))
    count = 0
    for folder in options.folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
            with open(path, encoding="utf-8") as file:
                workflow = n8n.rest("POST", "/workflows", json.load(file))
            for node in workflow["nodes"]:
                for kind, credential in node.get("credentials", {}).items():
                    if not credential.get("id"):
                        sys.exit("admin.py: %s: no credential %r (%s)" % (path, credential.get("name"), kind))
            if path.endswith(".inactive.json"):
                continue
            n8n.rest("POST", "/workflows/%s/activate" % workflow["id"], {"versionId": workflow["versionId"]})
            count += 1
    print("admin.py: %d workflows published" % count, file=sys.stderr, flush=True)
    status, answer = n8n.request("POST", WARM_UP, {"chatInput": "warm up [[n=1]] [[delay=0]]", "sessionId": "warm-up"},
                                 {"X-API-Key": os.environ["N8N_API_KEY"]}, timeout=120)
    if status != 200 or b'"type":"end"' not in answer:
        sys.exit("admin.py: the first call failed: %s %s" % (status, answer[:500].decode("utf-8", "replace")))
    N8n(os.environ["LLM_URL"]).request("DELETE", "/log")


def executions(n8n, options):
    n8n.rest("POST", "/login", {"emailOrLdapLoginId": OWNER["email"], "password": OWNER["password"]})
    ids = [w["id"] for w in n8n.rest("GET", "/workflows") if w["name"] == options.name]
    if not ids:
        sys.exit("admin.py: no workflow %r" % options.name)
    wanted = urllib.parse.quote(json.dumps({"workflowId": ids[0]}))
    for run in n8n.rest("GET", "/executions?limit=20&filter=" + wanted)["results"]:
        print(run["id"], run["status"], run.get("startedAt"), run.get("stoppedAt"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("prepare")
    command.add_argument("--pid", type=int)
    command.add_argument("--credentials", required=True)
    command.add_argument("folders", nargs="+")
    command.set_defaults(run=prepare)
    command = commands.add_parser("executions")
    command.add_argument("name")
    command.set_defaults(run=executions)
    options = parser.parse_args()
    options.run(N8n(options.url), options)


if __name__ == "__main__":
    main()
