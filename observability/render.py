#!/usr/bin/env python3
"""Draws a dashboard without Grafana: each panel's queries go to a Prometheus, and the page to a headless Chromium.

  observability/render.py --prometheus http://localhost:9090 observability/grafana/dashboards/overview.json overview.png

For pictures in documents, and to look at a dashboard's figures where there is no Grafana. It knows the panel types and
options that the dashboards here use; what it doesn't know it says.
"""
import argparse
import html
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

WIDTH, CELL, GAP = 1600, 36, 8
COLORS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff9830", "#f2495c", "#b877d9", "#5794f2", "#96d98d", "#ffcb7d", "#ca95e5"]
NAMED = {"green": "#73bf69", "dark-green": "#37872d", "orange": "#ff9830", "red": "#f2495c", "dark-red": "#c4162a",
         "blue": "#5794f2", "yellow": "#fade2a", "purple": "#b877d9", "dark-orange": "#fa6400", "super-light-orange": "#ffcb7d",
         "super-light-red": "#ffa6b0", "transparent": "none"}
STYLE = """
body{margin:0;background:#111217;color:#ccccdc;font:12px/1.3 "DejaVu Sans",sans-serif;width:%dpx;position:relative}
.panel{position:absolute;background:#181b1f;border:1px solid #2a2d33;border-radius:3px;box-sizing:border-box;overflow:hidden}
.row{position:absolute;font-weight:bold;font-size:14px;line-height:%dpx;left:12px}
h1{font-size:18px;margin:0;padding:10px 12px;font-weight:normal} h2{font-size:12px;margin:0;padding:6px 10px;font-weight:bold}
.stat{display:flex;gap:14px;justify-content:space-around;align-items:center;position:absolute;inset:26px 8px 4px}
.value{font-size:30px;text-align:center;position:relative;z-index:1} .value small{display:block;font-size:11px;color:#ccccdc}
.spark{position:absolute;left:0;right:0;bottom:0;opacity:.35} table{border-collapse:collapse;font-size:11px}
td,th{padding:1px 6px;text-align:right;font-weight:normal;white-space:nowrap} th{color:#8e8e99} td:first-child,th:first-child{text-align:left}
.legend{position:absolute;font-size:11px;overflow:hidden} .key{display:inline-block;width:12px;height:3px;margin:0 5px 3px 0}
.none{position:absolute;inset:26px 0 0;display:flex;align-items:center;justify-content:center;color:#8e8e99;font-size:14px}
text{fill:#8e8e99;font-size:10px}
""" % (WIDTH, CELL)


class Prometheus:
    def __init__(self, url, end, seconds, variables):
        self.url, self.end, self.begin, self.seconds = url.rstrip("/"), end, end - seconds, seconds
        self.step, self.variables = max(1, seconds // 240), variables

    def ask(self, path, **query):
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as refused:
            raise ValueError(f"Prometheus refuses {query['query']}: {refused.read().decode('utf-8', 'replace')}") from None

    def fill(self, expression):
        """Grafana's variables: all values of those that choose, and lengths of time."""
        known = {"__rate_interval": self.variables["rate"], "__range": f"{self.seconds}s"}
        return re.sub(r"\$\{?(\w+)\}?", lambda found: known.get(found[1], ".*"), expression)

    def range(self, expression):
        data = self.ask("query_range", query=self.fill(expression), start=self.begin, end=self.end, step=self.step)
        return [(each["metric"], [(float(at), number(value)) for at, value in each["values"]]) for each in data["result"]]

    def now(self, expression):
        return [(each["metric"], number(each["value"][1])) for each in self.ask("query", query=self.fill(expression), time=self.end)["result"]]

    def exemplars(self, expression):
        found = self.ask("query_exemplars", query=self.fill(expression), start=self.begin, end=self.end)
        return [(float(one["timestamp"]), number(one["value"])) for series in found for one in series["exemplars"]]


def number(text):
    value = float(text)
    return value if math.isfinite(value) else None


def named(legend, metric):
    """Grafana's legend: `{{label}}` is the label's value."""
    if not legend:
        return ", ".join(f"{name}={value}" for name, value in metric.items()) or "value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: metric.get(found[1], ""), legend)


def shown(value, unit, decimals=None):
    """A value with its unit, as short as Grafana would write it."""
    if value is None:
        return "-"

    def digits(scaled):
        places = decimals if decimals is not None else (0 if scaled == int(scaled) or abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2)
        return f"{scaled:.{places}f}"

    if unit == "s":
        for size, name, most in ((1e-3, "ms", 1), (1, "s", 60), (60, "min", 3600), (3600, "hour", 86400), (86400, "day", math.inf)):
            if abs(value) < most:
                scaled = value / size
                return (f"{scaled:.0f}" if scaled >= 100 else f"{scaled:.3g}") + f" {name}"
    if unit == "percentunit":
        return digits(value * 100) + "%"
    if unit == "percent":
        return digits(value) + "%"
    size = {"bytes": 1024}.get(unit, 1000)
    names = ["B", "KiB", "MiB", "GiB", "TiB"] if unit == "bytes" else ["", " K", " Mil", " Bil"]
    power = 0
    while abs(value) >= size and power < len(names) - 1:
        value, power = value / size, power + 1
    return digits(value) + (" " if unit == "bytes" else "") + names[power] + {"reqps": " req/s"}.get(unit, "")


def steps_of(defaults):
    return [((step["value"] if step["value"] is not None else -math.inf), NAMED.get(step["color"], step["color"]))
            for step in defaults.get("thresholds", {}).get("steps", [])]


def color_at(defaults, value):
    color = "#ccccdc"
    for least, of in steps_of(defaults):
        if value is not None and value >= least:
            color = of
    return color


def nice_top(value):
    if value <= 0:
        return 1.0
    size = 10 ** math.floor(math.log10(value))
    return next(size * times for times in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if size * times >= value * 1.0001)


class Plot:
    """Axes of one panel; `x` and `y` say where a value is."""

    def __init__(self, prometheus, width, height, top, unit, left=62, bottom=18):
        self.p, self.w, self.h, self.top, self.unit, self.left, self.bottom = prometheus, width, height, top, unit, left, bottom
        self.parts = []

    def x(self, at):
        return self.left + (at - self.p.begin) / self.p.seconds * (self.w - self.left - 8)

    def y(self, value):
        return 6 + (1 - value / self.top) * (self.h - self.bottom - 6)

    def grid(self):
        for n in range(5):
            value = self.top * n / 4
            self.parts.append(f'<line x1="{self.left}" x2="{self.w - 8}" y1="{self.y(value):.1f}" y2="{self.y(value):.1f}" stroke="#2a2d33"/>'
                              f'<text x="{self.left - 6}" y="{self.y(value) + 3:.1f}" text-anchor="end">{shown(value, self.unit)}</text>')
        self.times()

    def times(self):
        for n in range(1, 5):
            at = self.p.begin + self.p.seconds * n / 5
            self.parts.append(f'<text x="{self.x(at):.0f}" y="{self.h - 4}" text-anchor="middle">{time.strftime("%H:%M:%S", time.localtime(at))}</text>')

    def svg(self):
        return f'<svg width="{self.w}" height="{self.h}" style="position:absolute;left:0;top:26px">{"".join(self.parts)}</svg>'


def draw_lines(panel, prometheus, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    custom, series = defaults.get("custom", {}), []
    for target in panel["targets"]:
        series += [(named(target.get("legendFormat"), metric), points) for metric, points in prometheus.range(target["expr"])]
    series = [(name, points) for name, points in series if any(value is not None for _, value in points)]
    if not series:
        return nothing(defaults)
    fixed, units = {}, {}
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]
        for name, _ in series:
            if name == matcher["options"] if matcher["id"] == "byName" else re.fullmatch(matcher["options"], name):
                for given in override["properties"]:
                    if given["id"] == "color":
                        fixed[name] = NAMED.get(given["value"]["fixedColor"])
                    elif given["id"] == "unit":
                        units[name] = given["value"]
    palette = iter([color for color in COLORS if color not in fixed.values()] * 20)
    colors = {name: fixed.get(name) or next(palette) for name, _ in series}
    stacked, base, drawn = custom.get("stacking", {}).get("mode") == "normal", {}, []
    for name, points in series:
        upper = []
        for at, value in points:
            below = base.get(at, 0.0) if stacked else 0.0
            upper.append((at, below, below + (value or 0)))
            if stacked:
                base[at] = below + (value or 0)
        drawn.append((name, upper if units.get(name, defaults.get("unit")) == defaults.get("unit") else []))
    top = nice_top(max([high for _, points in drawn for _, _, high in points] or [1]))
    # As Grafana does: a fixed end of the axis holds.
    top = defaults.get("max", top)
    right = panel["options"]["legend"]["placement"] == "right"
    chart_w, chart_h = (width - 250 if right and width > 620 else width), height - 26
    if chart_w == width:
        chart_h -= 16 * (1 + len(series) // 4) + 4
    plot = Plot(prometheus, chart_w, chart_h, top, defaults.get("unit", "short"))
    plot.grid()
    if custom.get("thresholdsStyle", {}).get("mode", "off") != "off":
        for least, color in steps_of(defaults):
            if 0 < least < top:
                plot.parts.append(f'<rect x="{plot.left}" y="6" width="{plot.w - plot.left - 8}" height="{plot.y(least) - 6:.1f}" fill="{color}" opacity=".12"/>'
                                  f'<line x1="{plot.left}" x2="{plot.w - 8}" y1="{plot.y(least):.1f}" y2="{plot.y(least):.1f}" stroke="{color}" stroke-dasharray="4"/>')
    for name, points in reversed(drawn):
        if not points:
            continue
        line = " ".join(f"{plot.x(at):.1f},{plot.y(high):.1f}" for at, _, high in points)
        back = " ".join(f"{plot.x(at):.1f},{plot.y(low):.1f}" for at, low, _ in reversed(points))
        plot.parts.append(f'<polygon points="{line} {back}" fill="{colors[name]}" opacity="{custom.get("fillOpacity", 0) / 100}"/>'
                          f'<polyline points="{line}" fill="none" stroke="{colors[name]}" stroke-width="1.3"/>')
    if any(target.get("exemplar") for target in panel["targets"]):
        for at, value in prometheus.exemplars(panel["targets"][0]["expr"]):
            if value is not None and value <= top:
                x, y = plot.x(at), plot.y(value)
                plot.parts.append(f'<path d="M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4 -4z" fill="#8ab8ff" opacity=".8"/>')
    return plot.svg() + legend_of(panel, series, colors, units, chart_w, chart_h, width)


def legend_of(panel, series, colors, units, chart_w, chart_h, width):
    unit, lines = panel["fieldConfig"]["defaults"].get("unit", "short"), []
    table = chart_w < width
    for name, points in series:
        values = [value for _, value in points if value is not None]
        label = f'<i class="key" style="background:{colors[name]}"></i>{html.escape(name if len(name) < 34 else name[:31] + "...")}'
        if table:
            lines.append(f"<tr><td>{label}</td><td>{shown(values[-1], units.get(name, unit))}</td><td>{shown(max(values), units.get(name, unit))}</td></tr>")
        else:
            lines.append(f'<span style="margin-right:14px;white-space:nowrap">{label}</span>')
    if table:
        return f'<div class="legend" style="left:{chart_w}px;top:26px;right:0"><table><tr><th></th><th>last</th><th>max</th></tr>{"".join(lines)}</table></div>'
    return f'<div class="legend" style="left:12px;right:6px;top:{26 + chart_h}px">{"".join(lines)}</div>'


def nothing(defaults):
    return f'<div class="none">{html.escape(defaults.get("noValue", "No data"))}</div>'


def draw_stat(panel, prometheus, width, height):
    defaults, values, spark = panel["fieldConfig"]["defaults"], [], ""
    for target in panel["targets"]:
        values += [(named(target["legendFormat"], metric), value) for metric, value in prometheus.now(target["expr"])]
    if not any(value is not None for _, value in values):
        return nothing(defaults)
    if panel["options"]["graphMode"] == "area" and len(values) == 1:
        points = [(at, value) for at, value in prometheus.range(panel["targets"][0]["expr"])[0][1] if value is not None]
        top = nice_top(max(value for _, value in points))
        x = lambda at: (at - prometheus.begin) / prometheus.seconds * width
        line = " ".join(f"{x(at):.1f},{50 - value / top * 48:.1f}" for at, value in points)
        color = color_at(defaults, values[0][1])
        spark = f'<svg class="spark" width="{width}" height="50"><polygon points="{x(points[0][0]):.1f},50 {line} {x(points[-1][0]):.1f},50" fill="{color}"/></svg>'
    with_name = panel["options"]["textMode"] == "value_and_name"
    cells = "".join(f'<div class="value" style="color:{color_at(defaults, value)}">{"<small>" + html.escape(name) + "</small>" if with_name else ""}'
                    f'{shown(value, defaults.get("unit"), defaults.get("decimals"))}</div>' for name, value in values)
    return f'{spark}<div class="stat">{cells}</div>'


def draw_states(panel, prometheus, width, height):
    defaults, target = panel["fieldConfig"]["defaults"], panel["targets"][0]
    series = prometheus.range(target["expr"])
    if not series:
        return nothing(defaults)
    words = {key: (value["text"], NAMED[value["color"]]) for mapping in defaults["mappings"] for key, value in mapping["options"].items()}
    plot = Plot(prometheus, width, height - 44, 1, "short", left=90)
    tall = (plot.h - plot.bottom - 6) / len(series)
    for n, (metric, points) in enumerate(series):
        y = 6 + tall * n
        plot.parts.append(f'<text x="{plot.left - 8}" y="{y + tall / 2 + 3:.0f}" text-anchor="end" style="fill:#ccccdc">{html.escape(named(target["legendFormat"], metric))}</text>')
        for at, value in points:
            color = words.get(f"{value:g}", ("", "#555"))[1]
            plot.parts.append(f'<rect x="{plot.x(at):.1f}" y="{y + tall * .1:.1f}" width="{plot.x(at + prometheus.step) - plot.x(at) + .5:.1f}" height="{tall * .8:.1f}" fill="{color}" opacity=".8"/>')
    plot.times()
    keys = "".join(f'<span style="margin-right:14px"><i class="key" style="background:{color}"></i>{word}</span>' for word, color in words.values())
    return plot.svg() + f'<div class="legend" style="left:12px;top:{height - 20}px">{keys}</div>'


def draw_heat(panel, prometheus, width, height):
    series = sorted((float(metric["le"].replace("+Inf", "inf")), dict(points)) for metric, points in prometheus.range(panel["targets"][0]["expr"]))
    times = sorted({at for _, points in series for at in points})
    if not times:
        return nothing(panel["fieldConfig"]["defaults"])
    cells = [(n, at, (points.get(at) or 0) - (series[n - 1][1].get(at) or 0 if n else 0)) for n, (_, points) in enumerate(series) for at in times]
    most, plot = max(count for _, _, count in cells) or 1, Plot(prometheus, width, height - 26, 1, "s")
    tall = (plot.h - plot.bottom - 6) / len(series)
    for n, at, count in cells:
        if count > 0:
            plot.parts.append(f'<rect x="{plot.x(at):.1f}" y="{6 + tall * (len(series) - 1 - n):.1f}" width="{plot.x(at + prometheus.step) - plot.x(at):.1f}" height="{tall - 1:.1f}" fill="#ff9830" opacity="{.15 + .85 * count / most:.2f}"/>')
    for n, (le, _) in enumerate(series):
        plot.parts.append(f'<text x="{plot.left - 6}" y="{6 + tall * (len(series) - n - .5) + 3:.1f}" text-anchor="end">{shown(le, "s") if le < math.inf else "more"}</text>')
    plot.times()
    return plot.svg()


def draw_table(panel, prometheus, width, height):
    rows = [metric for target in panel["targets"] for metric, _ in prometheus.now(target["expr"])]
    if not rows:
        return nothing(panel["fieldConfig"]["defaults"])
    names = panel["transformations"][0]["options"]["include"]["names"]
    body = "".join("<tr>" + "".join(f"<td>{html.escape(row.get(name, ''))}</td>" for name in names) + "</tr>" for row in rows)
    return f'<table style="margin:0 8px"><tr>{"".join(f"<th>{name}</th>" for name in names)}</tr>{body}</table>'


DRAW = {"timeseries": draw_lines, "stat": draw_stat, "state-timeline": draw_states, "heatmap": draw_heat, "table": draw_table}


def page(board, prometheus):
    column, parts, deepest = (WIDTH - 2 * GAP) / 24, [], 0
    for panel in board["panels"]:
        at = panel["gridPos"]
        x, y, w, h = GAP + at["x"] * column, 44 + at["y"] * CELL, at["w"] * column - GAP, at["h"] * CELL - GAP
        deepest = max(deepest, y + h)
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="top:{y}px">{html.escape(panel["title"])}</div>')
            continue
        inside = DRAW[panel["type"]](panel, prometheus, int(w), int(h))
        parts.append(f'<div class="panel" style="left:{x:.0f}px;top:{y}px;width:{w:.0f}px;height:{h}px"><h2>{html.escape(panel["title"])}</h2>{inside}</div>')
    title = html.escape(board["title"])
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style><h1>{title}</h1>{"".join(parts)}', int(deepest + GAP)


def screenshot(text, height, picture, scale=1.0):
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        sys.exit("render.py: no chromium (set CHROMIUM, or name a file that ends in .html)")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "page.html")
        file.write_text(text)
        subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={WIDTH},{height}", f"--force-device-scale-factor={scale}",
                        f"--user-data-dir={folder}/profile", f"--screenshot={picture.resolve()}", file.as_uri()],
                       check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def render(url, dashboard, picture, seconds=3600, rate="1m", scale=1.0, until=None):
    """Draws one dashboard of the `seconds` before `until`, or before now."""
    board = json.loads(pathlib.Path(dashboard).read_text())
    text, height = page(board, Prometheus(url, until or time.time(), seconds, {"rate": rate}))
    picture = pathlib.Path(picture)
    if picture.suffix == ".html":
        picture.write_text(text)
    else:
        screenshot(text, height, picture, scale)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", default="http://localhost:9090", metavar="URL")
    parser.add_argument("--seconds", type=int, default=3600, help="how far back, default 3600")
    parser.add_argument("--until", type=float, help="and from when, Unix seconds; default now")
    parser.add_argument("--rate", default="1m", help="what $__rate_interval is, default 1m: four times the scrape interval")
    parser.add_argument("--scale", type=float, default=1.0, help="of the picture, default 1: 1600 pixels wide")
    parser.add_argument("dashboard")
    parser.add_argument("picture", help="a .png, or a .html")
    asked = parser.parse_args()
    try:
        render(asked.prometheus, asked.dashboard, asked.picture, asked.seconds, asked.rate, asked.scale, asked.until)
    except (OSError, ValueError) as error:
        sys.exit(f"render.py: {error}")


if __name__ == "__main__":
    main()
