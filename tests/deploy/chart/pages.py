"""The values that docs/kubernetes.md shows: the chart takes each block as it stands. See `run`."""
import re

import yaml

from cases import LOGIN
from render import ROOT, render

# Blocks for other programs, by a key that they have.
FOREIGN = {"mirrors", "ports"}


def blocks():
    """The blocks of YAML, with the line at which they begin."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    for found in re.finditer(r"^```yaml\n(.*?)^```$", page, re.M | re.S):
        values = yaml.safe_load(found[1])
        if not FOREIGN & set(values):
            yield page[: found.start()].count("\n") + 1, values


def taken(values):
    def look():
        # Some are complete, others say only what they are about.
        whole = {**yaml.safe_load(LOGIN), **values}
        if "monitoring" in str(values):
            whole |= {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
        render(yaml.safe_dump(whole))
    return look


CASES = [(f"page_line_{line}", taken(values)) for line, values in blocks()]
assert len(CASES) >= 7, "docs/kubernetes.md shows no values"
