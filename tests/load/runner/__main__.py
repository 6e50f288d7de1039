"""tests/load/run starts this."""

import signal
import sys

import counts
import figures


def main(mode, *options):
    logs = "target/test-logs/load"
    if mode == "short":
        return counts.run(logs)
    page = options[options.index("--page") + 1] if "--page" in options else "docs/performance.md"
    return figures.run(mode, page, logs)


# An exception, so that everything that was started is ended.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(main(*sys.argv[1:]))
