"""Checks the dashboards: their queries against the table of metrics, and against a Prometheus.

    check.py static METRICS.md                        the queries and texts alone
    check.py live PROMETHEUS BEGAN INSTANCE...        what Prometheus has for them

BEGAN is when the load began, in seconds since 1970; the instances are those that were scraped.
"""
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "grafana" / "dashboards"
PAGES = {path.stem.removeprefix("longshore-"): json.loads(path.read_text())
         for path in sorted(FOLDER.glob("*.json"))}

# Labels that a scrape gives to every series.
TARGET_LABELS = {"instance", "namespace"}
# What the crate `prometheus` says of each process on Linux.
PROCESS = {"process_resident_memory_bytes": "gauge", "process_open_fds": "gauge",
           "process_max_fds": "gauge", "process_cpu_seconds_total": "counter"}
# In a healthy run these are 0, and the load here cannot change that.
ZERO = {
    "overview/Damage that a request met, per hour": "only damage from outside of Longshore counts",
    "overview/CPU": "it is counted in whole seconds, of which the load may take none",
    "store/Difference of the clocks": "both clocks are those of one machine",
    "store/The store asks for fewer requests": "MinIO never answers with SlowDown here",
    "uploads/Abandoned multipart uploads": "an upload is abandoned after a day",
    "collector/Failed runs of the last day": "every run here succeeds",
    "overview/Refused by limits": "these processes have no limits for callers",
    "overview/Lines of the audit log": "these processes have no audit log",
}
# The metrics that no dashboard shows, and why.
UNUSED = {
    "longshore_namespace_tags": "the bytes of a namespace say more",
    "longshore_settings_info": "longshore doctor compares it",
    "longshore_issuer_fetches_total": "the alert LongshoreIssuerAway and the log say more",
    "longshore_issuer_keys_fetched_timestamp_seconds": "LongshoreIssuerAway watches it",
}
# Beside the chosen processes these queries have a part that does not depend on them.
CONSTANT = {"uploads/Upload memory by process"}

results = {"passed": 0, "failed": 0}


def judge(name, faults):
    results["failed" if faults else "passed"] += 1
    print(f"FAILED {name}: {'; '.join(faults)}" if faults else f"ok {name}")


def panels():
    """Every panel with its name, rows left out."""
    for page, dashboard in PAGES.items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield f"{page}/{panel['title']}", dashboard, panel


def filled(expression, dashboard, namespace=".*", instance=".*"):
    """The query that Grafana would send, with the rates of ten seconds."""
    values = {"namespace": namespace, "instance": instance, "__rate_interval": "10s"}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "textbox":
            values[variable["name"]] = variable["current"]["value"]
    return re.sub(r"\$([a-z_]+)", lambda found: values[found[1]], expression)


# ---- Against the table of metrics. ----

def table(reference):
    """From docs/metrics.md: the type and labels of each metric, and the values of its labels."""
    metrics, values, current = {}, {}, []
    for line in reference.read_text().splitlines():
        row = re.match(r"\| `(longshore_\w+)` \| (\w+), [^|]* \| ([^|]*) \|", line)
        about = re.match(r"`(\w+)` of ((?:`longshore_\w+`(?:, )?)+):", line)
        if row:
            metrics[row[1]] = row[2], set(re.findall(r"`(\w+)`", row[3]))
        elif about:
            current = [(name, about[1]) for name in re.findall(r"`(\w+)`", about[2])]
        elif line.startswith("## "):
            current = []
        elif re.match(r"`[^`]+`(, `[^`]+`)*$", line) or line.startswith("| `"):
            cell = line.split("|")[1] if line.startswith("|") else line
            for key in current:
                values.setdefault(key, set()).update(re.findall(r"`([^`]+)`", cell))
    assert len(metrics) > 40 and len(values) > 30, "this is no reference of metrics"
    metrics |= {name: (kind, set()) for name, kind in PROCESS.items()}
    return metrics, values


def resolve(name, metrics):
    """The metric of a series, its type as a series, and whether the series has the label `le`.

    A sum and a count may be divided by each other without a rate.
    """
    if name in metrics and metrics[name][0] != "histogram":
        return name, metrics[name][0], False
    for suffix in ("_bucket", "_sum", "_count"):
        base = name.removesuffix(suffix)
        if base != name and metrics.get(base, ("",))[0] == "histogram":
            return base, "counter" if suffix == "_bucket" else "total", suffix == "_bucket"
    return None, None, False


def matcher_faults(metric, selector, metrics, values):
    for label, operator, wanted in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selector):
        if label in TARGET_LABELS:
            continue
        if label not in metrics[metric][1]:
            yield f"{metric} has no label {label}"
        elif (metric, label) in values:
            known = values[metric, label]
            parts = wanted.split("|") if "~" in operator else [re.escape(wanted)]
            for part in parts:
                if not any(re.fullmatch(part, value) for value in known):
                    yield f"{label} of {metric} is never {part}"


def expression_faults(expression, legend, metrics, values):
    # Strings hold words of their own.
    bare = re.sub(r'"[^"]*"', '""', expression)
    used = set(re.findall(r"\b(?:longshore|process)_\w+", bare))
    labels = set(TARGET_LABELS)
    for name in sorted(used):
        metric, kind, has_le = resolve(name, metrics)
        if metric is None:
            yield f"there is no metric {name}"
            continue
        labels |= metrics[metric][1] | ({"le"} if has_le else set())
        rated = bool(re.search(rf"\b(rate|increase)\({name}\b", bare))
        if kind != "total" and rated != (kind == "counter"):
            yield f"{name} is a {kind}, and a rate is {'taken' if rated else 'missing'}"
        for selector in re.findall(rf"\b{name}\{{(.*?)\}}", expression):
            yield from matcher_faults(metric, selector, metrics, values)
    groups = re.findall(r"\b(?:by|on) \(([^)]*)\)", bare)
    grouped = {label.strip() for group in groups for label in group.split(",")}
    for label in grouped - labels:
        yield f"no metric of the query has the label {label}"
    if "histogram_quantile" in bare and "le" not in grouped:
        yield "a quantile without le"
    shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
    aggregated = [group for group in re.findall(r"\bby \(([^)]*)\)", bare)]
    for label in shown - (grouped if aggregated else labels):
        yield f"the legend has {label}, and the result has not"


def static(reference):
    metrics, values = table(reference)
    used, seen = set(), set()
    for name, dashboard, panel in panels():
        faults = ["two panels have this name"] if name in seen else []
        seen.add(name)
        good = panel.get("description", "")
        if not re.fullmatch(r"Good: [^ ].{0,140}[^.]\.", good) or ". " in good:
            faults.append("its description is not one sentence of what is good")
        for query in panel["targets"]:
            expression = filled(query["expr"], dashboard)
            faults += expression_faults(expression, query["legendFormat"], metrics, values)
            used |= set(re.findall(r"\blongshore_\w+", expression))
        judge(f"{name}: metrics, labels, description", faults)
    for listed in [*ZERO, *CONSTANT]:
        if listed not in seen:
            judge("the exceptions of the test", [f"no panel is called {listed}"])
    bases = {resolve(name, metrics)[0] for name in used}
    unused = sorted(name for name in metrics if name not in bases and name not in PROCESS)
    judge("every metric is on a dashboard", [f"unused: {name}" for name in unused
                                             if name not in UNUSED])
    identifiers = [dashboard["uid"] for dashboard in PAGES.values()]
    judge("five dashboards, each with an identifier of its own",
          [] if len(set(identifiers)) == 5 else [f"{identifiers}"])
    judge("the variables", [
        f"{page} has no {name}" for page, dashboard in PAGES.items()
        for name in ("datasource", "namespace", "instance")
        if name not in [variable["name"] for variable in dashboard["templating"]["list"]]])


# ---- Against a Prometheus that has scraped a registry in use. ----

class Prometheus:
    def __init__(self, address, began):
        self.address, self.began, self.ended = address, float(began), time.time()

    def ask(self, path, **parameters):
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", error)) from None

    def numbers(self, query):
        """Every finite number of a query over the whole run."""
        data = self.ask("query_range", query=query, start=self.began, end=self.ended, step="1s")
        found = [float(value) for one in data["result"] for _, value in one["values"]]
        return [number for number in found if math.isfinite(number)]


def data_faults(prometheus, name, dashboard, panel):
    for query in panel["targets"]:
        try:
            numbers = prometheus.numbers(filled(query["expr"], dashboard))
            # Chosen are processes that do not exist.
            elsewhere = prometheus.numbers(filled(query["expr"], dashboard, instance="nowhere"))
            elsewhere += prometheus.numbers(filled(query["expr"], dashboard, namespace="nowhere"))
        except ValueError as error:
            yield f"Prometheus refuses the query: {error}"
            continue
        if not numbers:
            yield f"no data for {query['expr']}"
        elif name not in ZERO and not any(numbers):
            yield f"always 0: {query['expr']}"
        if any(elsewhere) and name not in CONSTANT:
            yield f"the variables do not choose: {query['expr']}"


def variable_faults(prometheus, instances):
    """What the query variables offer."""
    wanted = {"instance": set(instances), "namespace": {"registry"}}
    for page, dashboard in PAGES.items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            series = filled(found[1], dashboard)
            offered = set(prometheus.ask(f"label/{found[2]}/values", **{"match[]": series}))
            if offered != wanted[variable["name"]]:
                yield f"{page} offers {sorted(offered)} for {variable['name']}"


def live(address, began, *instances):
    prometheus = Prometheus(address, began)
    for name, dashboard, panel in panels():
        judge(f"{name}: data", list(data_faults(prometheus, name, dashboard, panel)))
    judge("the variables offer the processes", list(variable_faults(prometheus, instances)))
    for name, reason in ZERO.items():
        print(f"not run {name} with a number above 0: {reason}")


def main():
    if sys.argv[1] == "static":
        static(Path(sys.argv[2]))
    else:
        live(*sys.argv[2:])
    print(f"{results['passed']} {results['failed']}", file=sys.stderr)
    sys.exit(1 if results["failed"] else 0)


main()
