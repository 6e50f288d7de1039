"""The measurements: each is a ratio or a cost, and has a floor and a goal."""

import http.client
import json
import os
import re
import shutil
import statistics
import time
from functools import partial

import abuse
import collection
import far
import page
from processes import REGISTRY_CORE, Servers, images, load, measured
from processes import redis_calls, registry_environment, s3_counts
from tokens import Tokens

SIZES = {
    # pairs, seconds of a reading run and of its warm-up, manifests that are asked for in no order,
    # MiB of a push, of how many at once and of which size, tags, repositories, starts, rounds of
    # an image pushed and pulled far from the store, seconds of each attack, images whose bucket is
    # collected
    "quick": dict(
        pairs=3, seconds=1.5, warm=0.5, manifests=1000, mib=256, crowd=16, crowd_mib=64,
        tags=5000, repositories=5000, starts=3, rounds=3, abuse=3, collected=15_000,
    ),
    "full": dict(
        pairs=3, seconds=4, warm=1, manifests=10_000, mib=1024, crowd=64, crowd_mib=1024,
        tags=100_000, repositories=100_000, starts=10, rounds=5, abuse=10,
        collected=65_000,
    ),
}
REDIRECT = {"BLOBS_DELIVERY": "redirect"}
# Label, program, bucket, and the setting of Redis.
PEERS = (
    (
        "distribution 3.1.1", "registry", "peer3",
        '{addrs: ["ADDRESS"], db: 2, poolsize: 128, maxidleconns: 64}',
    ),
    (
        "docker-registry 2.8.2", "docker-registry", "peer2",
        '{addr: "ADDRESS", db: 1, pool: {maxidle: 64, maxactive: 128, idletimeout: 300s}}',
    ),
)


class Figure:
    """A median of several tries, with what it should be."""

    def __init__(self, name, unit, floor=None, goal=None, less=False):
        self.name, self.unit, self.floor, self.goal, self.less = name, unit, floor, goal, less
        self.values = []

    def add(self, value):
        self.values.append(value)

    def median(self):
        return statistics.median(self.values)

    def verdict(self):
        """Whether the goal is reached, or the floor, or neither. A goal may be without a floor."""
        if self.goal is None:
            return ""
        at_least = lambda bound: self.median() <= bound if self.less else self.median() >= bound
        if at_least(self.goal):
            return "goal"
        if self.floor is None:
            return "no"
        return "floor" if at_least(self.floor) else "**missed**"


class Bench:
    def __init__(self, servers, sizes):
        self.servers, self.sizes, self.figures, self.notes = servers, sizes, {}, []

    def figure(self, group, name, unit="", floor=None, goal=None, less=False):
        rows = self.figures.setdefault(group, {})
        return rows.setdefault(name, Figure(name, unit, floor, goal, less))

    def left_out(self, what):
        if what not in self.notes:
            self.notes.append(what)
        print(f"not run: {what}", flush=True)

    def ask(self, server, path, method="GET", expect=200, connections=64, *more):
        """Requests a second, and microseconds of CPU for each."""
        before = server.cpu()
        seconds, warm = self.sizes["seconds"], self.sizes["warm"]
        report = measured(
            "requests", "--server", server.address, "--path", path, "--method", method,
            "--expect", expect, "--connections", connections, "--seconds", seconds,
            "--warm-up", warm, *more,
        )
        # The warm-up costs CPU, too, and was as fast.
        all_of_them = report["operations"] * (seconds + warm) / seconds
        report["cpu_us"] = (server.cpu() - before) / max(all_of_them, 1) * 1e6
        print(f"  {server.name} {method} {path[:60]}: {report['rate']:.0f}/s, {report['cpu_us']:.1f} us", flush=True)
        return report

    # ---- Reading, beside the same listener with a static answer ----

    def reads(self):
        servers, group = self.servers, "Reading, null store"
        store, redis, hello = servers.null_store(), servers.redis(), servers.hello()
        # What is measured is a hit, so nothing runs out meanwhile.
        by_redis = {"CACHE_REDIS": f"redis://{redis.address}", "CACHE_TAG_TTL": "1h", "CACHE_TTL": "1h"}
        hot = servers.longshore("reads", store, CACHE_LOCAL_TTL="1h", **REDIRECT)
        shared = servers.longshore("reads", store, **by_redis, **REDIRECT)
        tokens = Tokens(servers)
        guarded = servers.longshore("reads", store, CACHE_LOCAL_TTL="1h", **tokens.settings, **REDIRECT)
        tag, digest, layers = images(hot, "--layer-bytes", 100_000)[0]
        rows = [
            ("GET manifest by tag, in the process", hot, tag, "GET", 200, 0.60, 0.80),
            ("the same with a bearer token", guarded, tag, "GET", 200, 0.50, 0.70),
            ("HEAD manifest by tag, in the process", hot, tag, "HEAD", 200, 0.60, 0.85),
            ("HEAD blob, in the process", hot, layers[0], "HEAD", 200, 0.60, 0.85),
            ("GET blob → 307, in the process", hot, layers[0], "GET", 307, 0.55, 0.75),
            ("GET manifest by tag, Redis only", shared, tag, "GET", 200, 0.35, 0.50),
            ("GET manifest by digest, Redis only", shared, digest, "GET", 200, 0.35, 0.50),
        ]
        # What each is asked for the first time is there.
        for _, server, path, method, expect, _, _ in rows:
            more = tokens.option(tag) if server is guarded else ()
            measured(
                "requests", "--server", server.address, "--path", path, "--method", method,
                "--expect", expect, "--count", 100, *more,
            )
        for _ in range(self.sizes["pairs"]):
            for name, server, path, method, expect, floor, goal in rows:
                base = self.ask(hello, "/v2/")
                self.figure(group, "hello: CPU of a request", "µs").add(base["cpu_us"])
                more = tokens.option(tag) if server is guarded else ()
                before = sum(s3_counts(store).values())
                ours = self.ask(server, path, method, expect, 64, *more)
                from_store = sum(s3_counts(store).values()) - before
                kept = "Redis" if server is shared else "the process"
                row = self.figure(group, f"S3 requests for what {kept} knows, of a run", "", 0, 0, True)
                row.add(from_store)
                self.figure(group, name + " ÷ hello", "×", floor, goal).add(ours["rate"] / base["rate"])
                bounds = (28, 18) if expect == 307 else (25, 16) if server is hot else (None, None)
                self.figure(group, name + ": CPU of a request", "µs", *bounds, less=True).add(ours["cpu_us"])
        self.open_loop(hello, hot, tag, layers[0])
        servers.stop(hot)
        self.many_manifests(store, redis, hello, by_redis)
        tokens.stop()
        for server in (hello, shared, guarded, redis, store):
            servers.stop(server)

    def many_manifests(self, store, redis, hello, by_redis):
        """More manifests than the process remembers: a part of them comes from Redis."""
        group, count = "Reading, null store", self.sizes["manifests"]
        # A manifest and what is known of it are about 2.5 KiB.
        remembered = {"CACHE_LOCAL_TTL": "1h", "CACHE_LOCAL_BYTES": f"{count // 4}KiB"}
        server = self.servers.longshore("reads", store, **remembered, **by_redis, **REDIRECT)
        pushed = images(
            server, "--prefix", "load/many", "--share-blobs", "--per-repository", count, "--count", count
        )
        paths = os.path.join(self.servers.folder, "paths")
        with open(paths, "w") as file:
            file.writelines(by_digest + "\n" for _, by_digest, _ in pushed)
        ask = ("requests", "--server", server.address, "--paths", paths)
        measured(*ask, "--count", count)
        name = f"GET manifest, any of {count:,}, a tenth in the process ÷ hello"
        for _ in range(self.sizes["pairs"]):
            base = self.ask(hello, "/v2/")
            before = redis_calls(redis).get("get", 0), server.cpu()
            seconds, warm = self.sizes["seconds"], self.sizes["warm"]
            seen = measured(*ask, "--zipf", 0.95, "--seconds", seconds, "--warm-up", warm)
            asked = seen["operations"] * (seconds + warm) / seconds
            self.figure(group, name, "×").add(seen["rate"] / base["rate"])
            gets = (redis_calls(redis).get("get", 0) - before[0]) / asked
            self.figure(group, "of these, in Redis", "").add(gets)
            print(f"  {count} manifests: {seen['rate']:.0f}/s, {gets:.2f} of Redis", flush=True)
        self.servers.stop(server)

    def open_loop(self, hello, hot, tag, layer):
        group = "Latency at half the capacity, open loop"
        for name, server, path, expect, bounds in (
            ("hello", hello, "/v2/", 200, (None, None)),
            ("GET manifest by tag", hot, tag, 200, (5, 1.5)),
            ("GET blob → 307", hot, layer, 307, (5, 1.5)),
        ):
            most = self.ask(server, path, expect=expect)["rate"]
            for _ in range(self.sizes["pairs"]):
                seen = self.ask(server, path, "GET", expect, 64, "--rate", most / 2)
                self.figure(group, name + ": p50", "ms").add(seen["p50_us"] / 1000)
                self.figure(group, name + ": p99", "ms", *bounds, less=True).add(seen["p99_us"] / 1000)

    # ---- Other registries, over one MinIO and one Redis ----

    def installed_peers(self):
        """What starts another registry over a store and a Redis, by its label."""
        found = {}
        for label, program, bucket, by_redis in PEERS:
            if shutil.which(program):
                found[label] = partial(self.servers.distribution, program, bucket, by_redis)
            else:
                self.left_out(f"{label}: {program} is not installed (tests/support/tools/install peers)")
        return found

    def abuse(self):
        abuse.measure(self)

    def collection(self):
        collection.measure(self, REDIRECT)

    def far(self):
        far.measure(self, REDIRECT, self.installed_peers())

    def peers(self):
        servers, group = self.servers, "Beside other registries: MinIO, Redis, redirects"
        minio, redis = servers.minio(), servers.redis()
        ours = servers.longshore("peers", minio, CACHE_REDIS=f"redis://{redis.address}", **REDIRECT)
        others = [(label, start(minio, redis)) for label, start in self.installed_peers().items()]
        mine = images(ours, "--layer-bytes", 100_000)[0]
        for label, peer in others:
            v3 = label.startswith("distribution")
            theirs = images(peer, "--layer-bytes", 100_000)[0]
            for _ in range(self.sizes["pairs"]):
                for name, at, method, expect, floor, goal in (
                    ("GET manifest by tag", 0, "GET", 200, 20, 40),
                    ("GET manifest by digest", 1, "GET", 200, None, None),
                    ("HEAD manifest by tag", 0, "HEAD", 200, None, None),
                    ("GET blob → 307", 2, "GET", 307, 10, 25),
                ):
                    path = lambda of: of[2][0] if at == 2 else of[at]
                    a = self.ask(ours, path(mine), method, expect)
                    b = self.ask(peer, path(theirs), method, expect)
                    if not b["rate"]:
                        # In a short run on a busy machine that happens.
                        self.left_out(f"{name}: {label} answered nothing within a run")
                        continue
                    bounds = (floor, goal) if v3 else (None, None)
                    row = self.figure(group, f"{name}: Longshore ÷ {label}", "×", *bounds)
                    row.add(a["rate"] / b["rate"])
                    self.figure(group, f"{name}: {label}, CPU of a request", "µs").add(b["cpu_us"])
                self.mixed(group, label, ours, peer, (5, 10) if v3 else (None, None))
                self.push_beside(group, label, ours, peer, (2, 3) if v3 else (None, None))
        for server in [ours, *[peer for _, peer in others], redis, minio]:
            servers.stop(server)

    def mixed(self, group, label, ours, peer, bounds):
        rates = []
        for server in (ours, peer):
            seconds = self.sizes["seconds"] * 2
            seen = measured("mixed", "--server", server.address, "--seconds", seconds, "--images", 20)
            rates.append(seen["requests_per_second"])
            print(f"  {server.name} mixed: {rates[-1]:.0f} requests/s", flush=True)
        self.figure(group, f"mixed sessions: Longshore ÷ {label}", "×", *bounds).add(rates[0] / rates[1])

    def push_beside(self, group, label, ours, peer, bounds):
        rates = []
        for server in (ours, peer):
            before = server.cpu()
            seen = measured("push", "--server", server.address, "--mib", self.sizes["mib"])
            rates.append(seen["mib_per_second"])
            cost = (server.cpu() - before) / (seen["mib"] / 1024)
            print(f"  {server.name} push: {rates[-1]:.0f} MiB/s, {cost:.2f} CPU-s/GiB", flush=True)
            if server is peer:
                self.figure(group, f"push: {label}, CPU", "s/GiB").add(cost)
                self.figure(group, f"push: {label}, last request", "ms").add(seen["commit"]["p50_us"] / 1000)
        self.figure(group, f"push: Longshore ÷ {label}", "×", *bounds).add(rates[0] / rates[1])

    # ---- Pushing and pulling bytes, beside the store without a registry ----

    def pushes(self):
        group = "Pushing"
        self.figure(group, "SHA-256 of one core", "s/GiB").add(self.hash_rate())
        null, minio = self.servers.null_store("--drop"), self.servers.minio()
        for label, store, floor, goal in (("MinIO", minio, 0.50, 0.70), ("null store", null, 0.30, 0.40)):
            registry = self.servers.longshore("pushes", store)
            for _ in range(self.sizes["pairs"]):
                direct = self.direct("put", store)
                self.figure(group, f"{label}: CPU of a direct PUT", "s/GiB").add(direct["store_cpu"])
                before = registry.cpu()
                seen = measured("push", "--server", registry.address, "--mib", self.sizes["mib"])
                cost = (registry.cpu() - before) / (seen["mib"] / 1024)
                print(f"  push {label}: {seen['mib_per_second']:.0f} MiB/s, {cost:.2f} CPU-s/GiB", flush=True)
                ratio = seen["mib_per_second"] / direct["mib_per_second"]
                self.figure(group, f"{label}: push ÷ direct multipart PUT", "×", floor, goal).add(ratio)
                bounds = (1.6, 1.15) if store is null else (None, None)
                self.figure(group, f"{label}: CPU of the registry", "s/GiB", *bounds, less=True).add(cost)
                if store is null:
                    self.commits(group, registry, seen)
            self.figure(group, f"{label}: resident after these pushes", "MiB").add(registry.memory("VmHWM"))
            self.servers.stop(registry)
        self.pulls(null)
        self.servers.stop(null)
        self.servers.stop(minio)

    def commits(self, group, registry, large):
        small = measured("push", "--server", registry.address, "--mib", 1, "--count", 20)
        of = lambda seen: seen["commit"]["p50_us"] / 1000
        name = f"null store: last request of a blob of {self.sizes['mib']} MiB"
        self.figure(group, name, "ms", 20, 10, True).add(of(large))
        self.figure(group, "null store: last request of a blob of 1 MiB", "ms", 20, 10, True).add(of(small))
        name = f"null store: last request of {self.sizes['mib']} MiB ÷ of 1 MiB"
        self.figure(group, name, "×", 1.2, 1.2, True).add(of(large) / of(small))

    def hash_rate(self):
        return json.loads(load("sha256"))["cpu_seconds_per_gib"]

    def direct(self, verb, store):
        before = store.cpu()
        seen = measured(
            verb, "--endpoint", f"http://{store.address}", "--bucket", "bench", "--mib", self.sizes["mib"]
        )
        seen["store_cpu"] = (store.cpu() - before) / (seen["mib"] / 1024)
        print(f"  direct {verb} {store.name}: {seen['mib_per_second']:.0f} MiB/s", flush=True)
        return seen

    def pulls(self, null):
        group = "Pulling through the registry, null store"
        registry = self.servers.longshore("pulls", null)
        mib = self.sizes["mib"]
        pushed = measured("push", "--server", registry.address, "--mib", mib)
        path = f"/v2/load/push/blobs/{pushed['first_digest']}"
        for _ in range(self.sizes["pairs"]):
            direct = self.direct("get", null)
            before = registry.cpu()
            seen = measured(
                "requests", "--server", registry.address, "--path", path, "--count", 2, "--connections", 1
            )
            rate = 2 * mib / seen["seconds"]
            cost = (registry.cpu() - before) / (2 * mib / 1024)
            print(f"  pull: {rate:.0f} MiB/s, {cost:.2f} CPU-s/GiB", flush=True)
            self.figure(group, "GET ÷ direct GET", "×", 0.45, 0.60).add(rate / direct["mib_per_second"])
            self.figure(group, "CPU of the registry", "s/GiB", 0.9, 0.6, True).add(cost)
        self.servers.stop(registry)

    # ---- Memory, starts, lists ----

    def memory(self):
        group = "Memory"
        slow = self.servers.null_store("--drop", "--delay-ms", "30", "--mib-per-second", "80")
        registry = self.servers.longshore("memory", slow)
        time.sleep(1)
        self.figure(group, "resident after the start", "MiB", 24, 14, True).add(registry.memory("VmRSS"))
        crowd, mib = self.sizes["crowd"], self.sizes["crowd_mib"]
        seen = measured(
            "push", "--server", registry.address, "--mib", mib, "--count", crowd, "--connections", crowd
        )
        print(f"  {crowd} x {mib} MiB: {seen['mib_per_second']:.0f} MiB/s", flush=True)
        name = f"most resident, {crowd} pushes of {mib} MiB at once into a slow store"
        self.figure(group, name, "MiB", 600, 320, True).add(registry.memory("VmHWM"))
        self.servers.stop(registry)
        self.servers.stop(slow)

    def starts(self):
        store = self.servers.null_store()
        for _ in range(self.sizes["starts"]):
            began = time.monotonic()
            registry = self.start_eagerly(store)
            took = (time.monotonic() - began) * 1000
            row = self.figure("Starting", "from exec to the first 200", "ms", 100, 30, True)
            row.add(took)
            self.servers.stop(registry)
        self.servers.stop(store)

    def start_eagerly(self, store):
        command = [os.environ["REGISTRY_BINARY"], "serve", "--listen", "127.0.0.1:PORT"]
        command += ["--store", "s3://bench/starts"]
        environment = registry_environment(store, {})
        process = self.servers.start("starts", command, REGISTRY_CORE, "/v2/", environment, pause=0.001)
        return process

    def lists(self):
        store = self.servers.null_store()
        cold = self.servers.longshore("lists", store)
        hot = self.servers.longshore("lists", store, CACHE_LOCAL_TTL="1h")
        images(cold, "--layers", 1, "--prefix", "load/tags")
        tags, repositories = self.sizes["tags"], self.sizes["repositories"]
        fill = ("entries", "--endpoint", f"http://{store.address}", "--bucket", "bench")
        fill += ("--prefix", "lists", "--repository", "load/tags-0")
        measured(*fill, "--like", "v0", "--count", tags)
        measured(*fill, "--count", repositories)
        for what, path, count, last in (
            (f"of {tags:,} tags", "/v2/load/tags-0/tags/list", tags, "n"),
            (f"of {repositories:,} repositories", "/v2/_catalog", repositories, "load/tags-0/n"),
        ):
            group = "A page of 1,000 " + what
            ends = f"n=1000&last={last}{count - 1001:06}"
            first = self.a_page(group, "first page, cold", store, cold, f"{path}?n=1000", 1)
            final = self.a_page(group, "last page, cold", store, cold, f"{path}?{ends}", 1)
            self.figure(group, "last page ÷ first page, cold", "×", 1.5, 1.5, True).add(final / first)
            self.a_page(group, "first page, hot", store, hot, f"{path}?n=1000", 0)
            self.walk(group, cold, path, count)
        for server in (cold, hot, store):
            self.servers.stop(server)

    def a_page(self, group, name, store, registry, path, lists):
        ask = ("requests", "--server", registry.address, "--path", path, "--connections", 1)
        measured(*ask, "--count", 2)
        before = s3_counts(store).get("list", 0)
        seen = measured(*ask, "--count", 50)
        bounds = (None, None) if lists else (3, 1)
        self.figure(group, f"{name}: p50", "ms", *bounds, less=True).add(seen["p50_us"] / 1000)
        each = (s3_counts(store).get("list", 0) - before) / 50
        self.figure(group, f"{name}: LIST for each", "", lists, lists, True).add(each)
        return seen["p50_us"]

    def walk(self, group, registry, path, count):
        began, found, link = time.monotonic(), 0, f"{path}?n=1000"
        connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
        while link:
            connection.request("GET", link)
            answer = connection.getresponse()
            found += len(next(rows for rows in json.load(answer).values() if isinstance(rows, list)))
            link = re.fullmatch(r"<(.+)>; rel=\"next\"", answer.headers.get("link", "<>; rel=\"next\""))
            link = link and link.group(1)
        if found <= count:
            raise RuntimeError(f"{path}: {found} rows of more than {count}")
        row = self.figure(group, "all pages", "s", 1.5 * count / 100_000, 0.4 * count / 100_000, True)
        row.add(time.monotonic() - began)


PARTS = ("starts", "reads", "pushes", "lists", "memory", "peers", "far", "abuse", "collection")


def run(mode, path, logs, only=None):
    began = time.monotonic()
    if not only:
        page.check(path, "figures")
    with Servers(logs) as servers:
        bench = Bench(servers, SIZES[mode])
        for part in only.split(",") if only else PARTS:
            print(part, flush=True)
            getattr(bench, part)()
    if only:
        print("\n".join(page.tables(bench)))
        return 0
    bench.notes.append(f"It took {time.monotonic() - began:.0f} seconds.")
    page.write(path, mode, bench)
    missed = [row.name for rows in bench.figures.values() for row in rows.values() if "missed" in row.verdict()]
    print(f"written to {path}; below their floor: {', '.join(missed) or 'none'}")
    return 0
