"""Makes the dashboards in deploy/grafana/dashboards from the panels in deploy/grafana/panels.

    python3 deploy/grafana/generate.py            writes them
    python3 deploy/grafana/generate.py --check    says which file differs, and then fails

Review the panels: a panel takes three lines there and ten long ones in the JSON. The standard
library is enough.
"""
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from panels import caches, collector, overview, store, uploads  # noqa: E402

FOLDER = Path(__file__).resolve().parent / "dashboards"
PAGES = [overview, store, uploads, caches, collector]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The columns of Grafana's grid, and the height of a panel in its rows.
COLUMNS = 24
HEIGHTS = {"stat": 4, "timeseries": 8}
# The schema of the dashboards of Grafana 12. Older releases read it, too.
SCHEMA_VERSION = 41


def query_variable(name, label, query):
    """A variable whose values are those of a label. All of them also matches series without it."""
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "multi": True, "includeAll": True, "allValue": ".*", "refresh": 2, "sort": 1,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def text_variable(name, label, value):
    return {"name": name, "label": label, "type": "textbox", "query": value,
            "current": {"text": value, "value": value}}


def variables(page):
    found = "longshore_build_info"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource",
         "query": "prometheus"},
        query_variable("namespace", "Namespace", f"label_values({found}, namespace)"),
        query_variable("instance", "Instance",
                       f'label_values({found}{{namespace=~"$namespace"}}, instance)'),
        *[text_variable(*variable) for variable in page.VARIABLES],
    ]


def target(number, expression, legend, instant):
    return {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": expression,
            "legendFormat": legend, "instant": instant, "range": not instant}


def field_config(panel):
    colours = ["green", "orange", "red"]
    steps = [{"color": colour, "value": limit}
             for colour, limit in zip(colours, [None, *panel.limits])]
    defaults = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
        if panel.stacked:
            custom["stacking"] = {"mode": "normal", "group": "A"}
        if panel.limits:
            custom["thresholdsStyle"] = {"mode": "dashed"}
        defaults["custom"] = custom
        if not panel.signed:
            defaults["min"] = 0
    return {"defaults": defaults, "overrides": []}


def options(panel):
    if panel.kind == "stat":
        return {"colorMode": "value", "graphMode": "none", "textMode": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return {"legend": {"displayMode": "table", "placement": "bottom", "showLegend": True,
                       "calcs": ["lastNotNull", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"}}


def place(rows):
    """The panels of the rows, each with its identifier and its place in the grid."""
    placed, top = [], 0
    for title, panels in rows:
        placed.append({"id": len(placed) + 1, "type": "row", "title": title, "collapsed": False,
                       "panels": [], "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        top += 1
        left = height = 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + height
            height = HEIGHTS[panel.kind]
            placed.append({
                "id": len(placed) + 1, "type": panel.kind, "title": panel.title,
                "description": panel.good, "datasource": DATASOURCE,
                "gridPos": {"x": left, "y": top, "w": panel.width, "h": height},
                "fieldConfig": field_config(panel), "options": options(panel),
                "targets": [target(number, *query, panel.kind == "stat")
                            for number, query in enumerate(panel.queries)],
            })
            left += panel.width
        top += height
    return placed


def dashboard(page):
    return {
        "uid": f"longshore-{page.NAME}", "title": f"Longshore / {page.TITLE}",
        "description": page.ABOUT, "tags": ["longshore"], "editable": True, "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION, "version": 1, "refresh": "30s", "timezone": "",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "title": "Longshore", "tags": ["longshore"],
                   "icon": "external link", "tooltip": "", "targetBlank": False,
                   "asDropdown": False, "includeVars": True, "keepTime": True}],
        "annotations": {"list": []},
        "templating": {"list": variables(page)},
        "panels": place(page.ROWS),
    }


def written(value, levels, indent=""):
    """JSON whose outer levels have a line for each entry: a panel has ten lines and not fifty."""
    if levels == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    inner = indent + " "
    if isinstance(value, dict):
        entries = [f"{inner}{json.dumps(key)}: {written(one, levels - 1, inner)}"
                   for key, one in value.items()]
    else:
        entries = [inner + written(one, levels - 1, inner) for one in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n" + ",\n".join(entries) + f"\n{indent}{closed}"


def main():
    made = {f"longshore-{page.NAME}.json": written(dashboard(page), 3) + "\n" for page in PAGES}
    if sys.argv[1:] not in ([], ["--check"]):
        raise SystemExit(__doc__)
    FOLDER.mkdir(exist_ok=True)
    there = {path.name: path.read_text() for path in FOLDER.iterdir()}
    differs = sorted(name for name in there.keys() | made.keys()
                     if there.get(name) != made.get(name))
    if sys.argv[1:] and differs:
        raise SystemExit(f"{', '.join(differs)}: stale, run python3 deploy/grafana/generate.py")
    for name in differs:
        if name in made:
            (FOLDER / name).write_text(made[name])
        else:
            (FOLDER / name).unlink()


main()
