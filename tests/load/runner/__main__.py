"""tests/load/run starts this."""

import signal
import sys

import counts
import figures
import samples


def main(mode, *options):
    logs = "target/test-logs/load"
    if mode == "short":
        return counts.run(logs)
    given = lambda name: options[options.index(name) + 1] if name in options else None
    page = given("--page") or "docs/performance.md"
    if mode == "profile":
        return samples.run(page, logs)
    return figures.run(mode, page, logs, given("--only"))


# An exception, so that everything that was started is ended.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main(*sys.argv[1:]))
