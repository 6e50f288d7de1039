"""A pod that starts while the bucket is away: what its probes see, and how it ends. See `run`."""
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from cases import BUCKET
from render import LONGSHORE, environment_of, render

# What a start waits for a store that is away (docs/limits.md).
STORE_WAIT = 30
VALUES = BUCKET.replace("'s3://bucket'", "'s3://bucket', s3: {endpoint: 'http://127.0.0.1:%d', region: us-east-1, existingSecret: c}")
VALUES += "access: {anonymous: pull}\n"


def free_port():
    """A port on which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def seconds(probe):
    """How long a probe may fail before the kubelet kills the container."""
    return probe["periodSeconds"] * probe["failureThreshold"]


def without_its_bucket():
    """It is alive at once, never ready, ends by itself, and no probe would have killed it before."""
    objects = render(VALUES % free_port())
    container = objects.container
    admin, registry = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = environment_of(objects, Path(folder))
        environment["LONGSHORE_ADMIN_LISTEN"] = f"127.0.0.1:{admin}"
        environment["LONGSHORE_SERVER_LISTEN"] = f"127.0.0.1:{registry}"
        environment["LONGSHORE_STORE_S3_ACCESS_KEY_ID"] = "id"
        began = time.monotonic()
        with open(Path(folder) / "log", "w+") as log, subprocess.Popen(
            [str(LONGSHORE), *container["args"]], env=environment, cwd=folder, stdout=log, stderr=log
        ) as process:
            try:
                alive, seen = None, set()
                while process.poll() is None and time.monotonic() - began < 3 * STORE_WAIT:
                    livez = status(f"http://127.0.0.1:{admin}{container['livenessProbe']['httpGet']['path']}")
                    readyz = status(f"http://127.0.0.1:{admin}{container['readinessProbe']['httpGet']['path']}")
                    if livez == 200 and alive is None:
                        alive = time.monotonic() - began
                    seen |= {("readyz", readyz)} if readyz else set()
                    seen |= {("livez", livez)} if livez else set()
                    time.sleep(0.2)
                ended = time.monotonic() - began
            finally:
                process.kill()
            log.seek(0)
            told = log.read()
    assert alive is not None and alive < seconds(container["startupProbe"]), f"alive after {alive} s:\n{told[-1500:]}"
    assert seen == {("livez", 200), ("readyz", 503)}, seen
    assert process.returncode == 1 and "the store is away" in told, f"{process.returncode}:\n{told[-1500:]}"
    assert STORE_WAIT / 2 < ended < STORE_WAIT + 10, f"it ended after {ended:.0f} s"
    # The probe that begins when the startup probe has succeeded never fails, and the startup probe has more
    # time than the start.
    assert seconds(container["startupProbe"]) > STORE_WAIT and seconds(container["livenessProbe"]) > STORE_WAIT


CASES = [("a_start_without_its_bucket", without_its_bucket)] if LONGSHORE.exists() else []
