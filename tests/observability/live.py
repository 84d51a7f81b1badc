"""What only a running Frontdesk can tell: every query is asked of a real Prometheus that watches real processes."""
import json
import re
import time

import render
import shipped
from stack import OBSERVABILITY

RATE = "15s"
METRIC = re.compile(r"\b((?:frontdesk|gnatsd|jetstream)_\w+|up)\b(?:\{([^}]*)\})?")
# Panels that are empty while all is well.
EMPTY = {
    "overview: Calls that fail on our side (5xx)": "nothing failed on our side",
    "overview: Which alerts fire": "none fires yet: the one that will waits for a minute",
    "analytics: Old sessions were removed": "first looked for two minutes after the start",
}
# Series that are not there, each with the reason.
ABSENT = {
    'up{job="jaeger"}': "no Jaeger runs here",
    'frontdesk_worker_circuit{site="other"}': "each site has a label of its own here",
}


def selectors(expression):
    """Each metric of an expression, with what of its matchers says `=`; of the others that the label is there."""
    for name, matchers in METRIC.findall(re.sub(r"\$\w+", "", expression)):
        kept = []
        for label, kind, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            kept.append(f'{label}="{value}"' if kind == "=" else f'{label}!=""')
        yield f"{name}{{{', '.join(kept)}}}" if kept else name


def filled(expression):
    return re.sub(r"\$\{?(\w+)\}?", lambda found: {"__rate_interval": RATE, "__range": "60s"}.get(found[1], ".*"), expression)


def check_each_replica_is_watched(watched):
    seen = {(each["metric"]["job"], each["metric"]["instance"]): each["value"][1] for each in watched.query("up")}
    for job, addresses in watched.targets.items():
        for address in addresses:
            if seen.get((job, address)) != "1":
                yield f"{job} {address}: {seen.get((job, address), 'not asked')}"


def check_every_metric_and_label_exists(watched):
    asked = {}
    for where, expression in shipped.expressions():
        for selector in selectors(expression):
            asked.setdefault(selector, where)
    if len(asked) < 90:
        yield f"the queries were not understood: {len(asked)} selectors"
    for selector, where in asked.items():
        if bool(watched.query(f"count({selector})")) == (selector in ABSENT):
            yield f"{where}: {'there is' if selector in ABSENT else 'there is no'} {selector}"


def check_every_panel_shows_something(watched):
    for name, board in shipped.dashboards():
        for panel in shipped.panels_of(board):
            where, found = f"{name}: {panel['title']}", []
            for target in panel["targets"]:
                try:
                    result = watched.query(filled(target["expr"]))
                except ValueError as refused:
                    yield f"{where}: {refused}"
                    continue
                found += [each for each in result if each["value"][1] != "NaN"]
                for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]):
                    if any(label not in each["metric"] for each in result):
                        yield f"{where}: its legend names {label}, which is not in the answer"
            if bool(found) == (where in EMPTY):
                yield f"{where}: {f'shows {found[:3]}' if found else 'shows nothing'}"


def check_a_slow_message_leads_to_its_trace(watched):
    for name, board in shipped.dashboards():
        for panel in shipped.panels_of(board):
            for target in panel["targets"]:
                if target.get("exemplar") and "_bucket" in target["expr"]:
                    found = watched.api("query_exemplars", query=filled(target["expr"]), start=watched.began, end=time.time())
                    ids = [one["labels"].get("trace_id", "") for series in found for one in series["exemplars"]]
                    if not ids or not all(re.fullmatch("[0-9a-f]{32}", trace) for trace in ids):
                        yield f"{name}: {panel['title']}: no dot leads to a trace: {ids[:3]}"


def check_rules_are_loaded_and_healthy(watched):
    loaded = {rule["name"]: rule for group in watched.api("rules")["groups"] for rule in group["rules"]}
    for rule in shipped.rules():
        known = loaded.get(rule["alert"])
        if known is None or known["health"] != "ok":
            yield f"{rule['alert']}: {known.get('lastError', 'not evaluated') if known else 'not loaded'}"


def check_an_alert_of_a_dead_n8n_comes(watched):
    alerts = {(alert["labels"]["alertname"], alert["labels"].get("site")): alert["state"] for alert in watched.api("alerts")["alerts"]}
    if alerts.get(("FrontdeskCircuitOpen", "attic")) not in {"pending", "firing"}:
        yield f"FrontdeskCircuitOpen is not coming for attic: {alerts}"
    # Nobody may be woken by a chat that goes well but for one site's n8n.
    for name, site in alerts:
        if name not in {"FrontdeskCircuitOpen", "FrontdeskRepliesFail"}:
            yield f"{name} is coming for {site}, and nothing is wrong"


def check_each_dashboard_can_be_drawn(watched):
    for path in sorted((OBSERVABILITY / "grafana/dashboards").glob("*.json")):
        picture = watched.folder / f"{path.stem}.html"
        render.render(watched.url, path, picture, seconds=60, rate=RATE)
        drawn, board = picture.read_text(), json.loads(path.read_text())
        for panel in shipped.panels_of(board):
            if f"<h2>{render.html.escape(panel['title'])}</h2>" not in drawn:
                yield f"{path.stem}: {panel['title']} is not in the picture"
        if drawn.count("<svg") < 10 or "No data" in drawn:
            yield f"{path.stem}: the picture shows too little"
