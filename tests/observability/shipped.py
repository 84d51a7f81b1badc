"""What can be told of the shipped files by reading them: that they fit each other and the documents."""
import json
import re

import yaml

from desk import ROOT

OBSERVABILITY = ROOT / "observability"
SEVERITIES = {"critical", "warning", "info"}
PANELS = {"row", "stat", "timeseries", "table", "heatmap", "state-timeline"}


def load(path):
    return yaml.safe_load((OBSERVABILITY / path).read_text())


def dashboards():
    """Name and content of each."""
    return [(path.stem, json.loads(path.read_text())) for path in sorted((OBSERVABILITY / "grafana/dashboards").glob("*.json"))]


def rules():
    files = sorted((OBSERVABILITY / "prometheus/rules").glob("*.yml"))
    return [rule for file in files for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def panels_of(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions():
    """Every query of every panel and alert: where it stands, and the query."""
    for name, board in dashboards():
        for panel in panels_of(board):
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}", target["expr"]
    for rule in rules():
        yield f"alert {rule['alert']}", rule["expr"]


def check_each_alert_has_stories_and_a_section():
    runbook = (ROOT / "docs/observability.md").read_text()
    sections = set(re.findall(r"^#+ (Frontdesk\w+)$", runbook, re.MULTILINE))
    stories = {}
    for file in (OBSERVABILITY / "prometheus/tests").glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for story in test["alert_rule_test"]:
                stories.setdefault(story["alertname"], set()).add(bool(story["exp_alerts"]))
    for rule in rules():
        name = rule["alert"]
        if stories.get(name) != {True, False}:
            yield f"{name}: needs a story in which it fires, and one in which it does not"
        if name not in sections:
            yield f"{name}: no section in docs/observability.md"
        if rule["annotations"].get("runbook") != f"docs/observability.md#{name.lower()}":
            yield f"{name}: its runbook does not lead to its section"
        if rule["labels"].get("severity") not in SEVERITIES:
            yield f"{name}: severity is one of {sorted(SEVERITIES)}"
    for gone in sections - {rule["alert"] for rule in rules()}:
        yield f"docs/observability.md tells of {gone}, which is no alert"


def check_names_fit_each_other():
    sources = {source["uid"]: source for source in load("grafana/provisioning/datasources/frontdesk.yaml")["datasources"]}
    jobs = {job["job_name"] for job in load("prometheus/prometheus.yml")["scrape_configs"]}
    for where, expression in expressions():
        for job in re.findall(r'job=~?"([^"$]+)"', expression):
            for one in set(job.split("|")) - jobs:
                yield f"{where}: no job {one} in prometheus.yml"
    for name, board in dashboards():
        for panel in panels_of(board):
            used = {panel["datasource"]["uid"], *(target["datasource"]["uid"] for target in panel["targets"])}
            for uid in used - set(sources):
                yield f"{name}: {panel['title']}: no data source {uid}"
    leads_to = {link["datasourceUid"] for link in sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]}
    if leads_to != {"jaeger"} or sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] != "prometheus":
        yield "figures lead to traces in Jaeger, and traces to figures in Prometheus"


def check_jaeger_is_wired_to_prometheus():
    config, jobs = load("jaeger/config.yaml"), {job["job_name"]: job for job in load("prometheus/prometheus.yml")["scrape_configs"]}
    port = jobs["jaeger"]["dns_sd_configs"][0]["port"]
    if config["exporters"]["prometheus"]["endpoint"] != f"0.0.0.0:{port}":
        yield f"Prometheus asks Jaeger on port {port}"
    parts = {"receivers": {"spanmetrics"}, "exporters": {"spanmetrics"}, "processors": set()}
    for name, pipeline in config["service"]["pipelines"].items():
        for kind, connectors in parts.items():
            for part in set(pipeline.get(kind, [])) - set(config[kind]) - connectors:
                yield f"pipeline {name}: no {part} in {kind}"
    for extension in set(config["service"]["extensions"]) - set(config["extensions"]):
        yield f"no extension {extension}"
    stored, asked = config["extensions"]["jaeger_storage"], config["extensions"]["jaeger_query"]["storage"]
    if asked["traces"] not in stored["backends"] or asked["metrics"] not in stored["metric_backends"]:
        yield "jaeger_query asks for a storage that is not there"
    if config["exporters"]["jaeger_storage_exporter"]["trace_storage"] not in stored["backends"]:
        yield "traces go to a storage that is not there"


def check_dashboards_are_whole():
    known = [board["uid"] for _, board in dashboards()]
    if len(known) != 5 or len(set(known)) != 5:
        yield f"five dashboards, each with a uid of its own: {known}"
    for name, board in dashboards():
        ids = [panel["id"] for panel in board["panels"]]
        if len(set(ids)) != len(ids):
            yield f"{name}: two panels have one id"
        if "frontdesk" not in board["tags"]:
            yield f"{name}: the links between dashboards need the tag frontdesk"
        chosen = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval", "__range"}
        taken = {}
        for panel in board["panels"]:
            where = f"{name}: {panel['title']}"
            if panel["type"] not in PANELS:
                yield f"{where}: render.py does not know {panel['type']}"
            at = panel["gridPos"]
            for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
                if cell in taken or cell[0] >= 24:
                    yield f"{where}: lies over {taken.get(cell, 'the edge of the page')}"
                    break
                taken[cell] = panel["title"]
            for target in panel.get("targets", []):
                for name_of in re.findall(r"\$\{?(\w+)\}?", target["expr"]):
                    if name_of not in chosen:
                        yield f"{where}: no variable {name_of}"
            if panel["type"] != "row" and not panel["description"]:
                yield f"{where}: says nothing about itself"
