"""Row 8, second part: schemathesis makes requests out of /openapi.json, fitting and not, and looks for a 5xx."""
import re
import shutil
import subprocess
import sys

from client import BROWSER, Visitor
from report import Skip, check

# One version, so that a run today is the run of tomorrow.
VERSION = "4.32.5"
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance,unsupported_method,ignored_auth"


def _folder(cache):
    return cache / f"schemathesis-{VERSION}"


def install(cache):
    """Installs schemathesis once into a folder of this version, in three minutes at most; why not, if it can't be."""
    folder = _folder(cache)
    if (folder / "bin" / "schemathesis").exists():
        return None
    print(f"installing schemathesis {VERSION} into {folder}", flush=True)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=60)
        subprocess.run([folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", f"schemathesis=={VERSION}"],
                       check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return f"schemathesis {VERSION} can't be installed from PyPI ({type(error).__name__})"
    return None


def _attack(desk, url, headers, checks, growth, more=()):
    """Lets schemathesis loose on what `url` describes; the figure for the report."""
    if desk.no_schemathesis:
        raise Skip(desk.no_schemathesis)
    tool = _folder(desk.cache) / "bin" / "schemathesis"
    # It would read the events of a stream by the schema of a document.
    headers = {**headers, "Accept": "application/json"}
    command = [tool, "--no-color", "run", f"{url}/openapi.json", "--url", url, "--checks", checks,
               "--phases", "examples,coverage,fuzzing", "--max-examples", "20" if desk.own else "3", "--request-timeout", "5",
               "--max-time", "20", "--continue-on-failure", "--seed", "1", "--no-shrink", "--suppress-health-check", "all", "--warnings", "off",
               *more]
    if not desk.own:
        command += ["--rate-limit", "30/m"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    with growth:
        try:
            done = subprocess.run(command, cwd=desk.folder, capture_output=True, text=True, timeout=100, start_new_session=True)
        except subprocess.TimeoutExpired:
            raise Skip("schemathesis did not end within 100 s") from None
    said = done.stdout.replace(headers["Authorization"].removeprefix("Bearer "), "<token>")
    assert done.returncode == 0, said[said.find("= FAILURES"):][:1500] + "\n" + said[-600:]
    cases = re.search(r"(\d+) generated", said)
    return f"{cases[1] if cases else 'many'} requests"


@check("8", "schemathesis finds no 5xx and no answer that /openapi.json does not know", whole=True)
def the_api_answers_as_it_says(desk):
    visitor = Visitor(desk.edge).begin()
    headers = {"Authorization": f"Bearer {visitor.token}", "X-Fingerprint": visitor.fingerprint, "Origin": desk.edge.origin,
               "User-Agent": BROWSER["User-Agent"], "Accept-Language": "en-GB"}
    growth = desk.growth(48)
    # A stream that stays open is no answer to wait for.
    figure = _attack(desk, desk.edge.url, headers, CHECKS, growth, ["--exclude-path-regex", "/stream/"])
    return f"{figure}; {growth.told()}" if desk.own else figure


@check("8", "schemathesis finds the same of analytics", whole=True, own=True)
def the_api_of_analytics_answers_as_it_says(desk):
    analytics = desk.spread()["analytics"]
    headers = {"Authorization": f"Bearer {desk.secrets['ADMIN_TOKEN']}"}
    # Without `ignored_auth`: it guesses tokens, and who guesses is refused whatever else it sends.
    growth = desk.growth(48, analytics)
    figure = _attack(desk, analytics.url, headers, CHECKS.replace(",ignored_auth", ""), growth)
    return f"{figure}; {growth.told()}"
