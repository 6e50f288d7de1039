"""The panels of the dashboards, a module for each page, and what their queries have in common."""
from dataclasses import dataclass

# What the variables of a dashboard choose.
CHOSEN = 'namespace=~"$namespace",instance=~"$instance"'
# The processes of Longshore that are chosen, for metrics that other programs have, too.
OURS = f"and on (instance) longshore_build_info{{{CHOSEN}}}"


@dataclass
class Panel:
    """`good` says in one sentence what a good state looks like. `limits` are where it ends."""

    kind: str
    title: str
    unit: str
    good: str
    queries: tuple
    width: int
    limits: tuple = ()
    stacked: bool = False
    signed: bool = False


def graph(title, unit, good, *queries, width=12, **more):
    return Panel("timeseries", title, unit, f"Good: {good}", queries, width, **more)


def stat(title, unit, good, query, width=6, limits=()):
    return Panel("stat", title, unit, f"Good: {good}", (query,), width, limits)


def series(metric, where=""):
    return f"{metric}{{{CHOSEN}{',' if where else ''}{where}}}"


def grouped(function, by, inner):
    return f"{function} by ({by}) ({inner})" if by else f"{function}({inner})"


def total(metric, by="", where=""):
    return grouped("sum", by, series(metric, where))


def highest(metric, by="", where=""):
    return grouped("max", by, series(metric, where))


def rate(metric, by="", where=""):
    """Per second, added up over the processes."""
    return grouped("sum", by, f"rate({series(metric, where)}[$__rate_interval])")


def increase(metric, window, by="", where=""):
    """For events that are rare: how many there were in a window."""
    return grouped("sum", by, f"increase({series(metric, where)}[{window}])")


def quantile(rank, histogram, by="", where=""):
    inner = rate(f"{histogram}_bucket", f"{by}, le" if by else "le", where)
    return f"histogram_quantile({rank}, {inner})"


def share(part, whole):
    """A series that has counted nothing yet does not exist, which means 0 and not no data."""
    return f"({part} or vector(0)) / {whole}"
