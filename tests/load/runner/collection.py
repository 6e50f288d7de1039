"""Garbage collection of a large bucket that is 30 ms away, and what it costs hot reads."""

import json
import os
import re
import subprocess
import time

from processes import BUCKET, LONGSHORE, OTHER_CORE, REGISTRY_CORE
from processes import failure, images, load, pinned, registry_environment

# What each direction takes. A request to the store and its answer take twice as long.
DELAY_MS = 15
PREFIX = "collection"
GROUP = f"Garbage collection, a store {2 * DELAY_MS} ms away: MinIO"
# Everything that was written before the first run is older than the grace.
SHORT = {
    "COLLECTION_UNSAFE_SHORT_GRACE": "true",
    "COLLECTION_GRACE": "8s",
    "COLLECTION_WRITE_DEADLINE": "2s",
    "COLLECTION_CLOCK_SKEW": "1s",
    "COLLECTION_QUARANTINE": "1s",
}
# A run by hand, which has the process for itself. By default a collection leaves the store to others.
BY_HAND = {**SHORT, "COLLECTION_REQUESTS_PER_SECOND": "2000"}


def measure(bench, settings):
    servers = bench.servers
    minio = servers.minio()
    # Nothing is measured meanwhile, so this may use both cores.
    filled = json.loads(load(
        "bucket", "--endpoint", f"http://{minio.address}", "--bucket", BUCKET, "--prefix", PREFIX,
        "--images", bench.sizes["collected"], core=f"{OTHER_CORE},{REGISTRY_CORE}",
    ))
    objects = filled["objects"]
    print(f"  {objects:,} objects in {filled['repositories']:,} repositories", flush=True)
    store = servers.delay(minio, DELAY_MS)
    time.sleep(10)
    bench.figure(GROUP, "objects in the bucket").add(objects)
    runs = [collect(store) for _ in range(3)]
    for number, run in enumerate(runs):
        row, floor = ("the first run", 50_000) if number == 0 else ("a later run", 150_000)
        bench.figure(GROUP, f"{row}: objects a minute", "", floor).add(objects * 60 / run["seconds"])
        bench.figure(GROUP, f"{row}: requests").add(run["requests"])
        bench.figure(GROUP, f"{row}: data that was freed", "MiB").add(run["freed_bytes"] / (1 << 20))
        bench.figure(GROUP, "most resident", "MiB", 128, less=True).add(run["mib"])
    hot_reads(bench, store, settings)
    for server in (store, minio):
        servers.stop(server)


def collect(store):
    """One run by hand: its report, with its seconds and the most memory that it had."""
    command = pinned(REGISTRY_CORE, [LONGSHORE, "gc", "--json", "--store", f"s3://{BUCKET}/{PREFIX}"])
    environment = {**os.environ, **registry_environment(store, BY_HAND)}
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    report = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise failure(f"gc ended with {os.waitstatus_to_exitcode(status)}")
    report = {**json.loads(report), "seconds": time.monotonic() - began, "mib": usage.ru_maxrss / 1024}
    print(f"  gc: {report['seconds']:.1f} s, {report['requests']} requests, {report['mib']:.0f} MiB", flush=True)
    return report


def hot_reads(bench, store, settings):
    """A frontend that collects in the background beside one that does not, in turn."""
    # The shortest interval, so that a run is due. The log says when it begins and ends.
    hot = {"CACHE_LOCAL_TTL": "1h", "LOG_LEVEL": "info", "LOG_REQUESTS": "off", **SHORT, **settings}
    hot["COLLECTION_INTERVAL"] = "1m"
    tag = None
    for _ in range(bench.sizes["pairs"]):
        idle = bench.servers.longshore(PREFIX, store, COLLECTION_ENABLED="false", **hot)
        tag = tag or images(idle, "--layer-bytes", 100_000)[0][0]
        alone = bench.ask(idle, tag)
        bench.servers.stop(idle)
        busy = bench.servers.longshore(PREFIX, store, COLLECTION_ENABLED="true", **hot)
        wait_until(busy, "garbage collection phase", 120)
        beside = bench.ask(busy, tag)
        if said(busy, "garbage collection finished"):
            raise failure("the collection had ended while the reads were measured")
        bench.servers.stop(busy)
        row = "hot GET of a manifest: beside a collection ÷ without one"
        bench.figure(GROUP, row, "×", 0.9).add(beside["rate"] / alone["rate"])
        row = "p99 of that: beside a collection"
        bench.figure(GROUP, row, "ms").add(beside["p99_us"] / 1000)
        bench.figure(GROUP, "p99 of that: without one", "ms").add(alone["p99_us"] / 1000)


def said(process, text):
    """Whether the log of a process has a line with this text, colours left out."""
    with open(process.log.name, errors="replace") as log:
        return text in re.sub(r"\x1b\[[0-9;]*m", "", log.read())


def wait_until(process, text, seconds):
    end = time.monotonic() + seconds
    while not said(process, text):
        if time.monotonic() > end:
            raise failure(f"{process.name} does not say: {text}")
        time.sleep(0.2)
