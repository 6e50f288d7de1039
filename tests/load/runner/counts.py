"""Requests to S3 and to Redis for each operation. They must not be more, nor fewer, than these."""

import http.client
import json
import os
import re
import time
from hashlib import sha256

from processes import Servers, images, load, measured, redis_calls, s3_counts

MIB = 1 << 20


def settled(read):
    """Counts that have stopped: some requests are sent after the answer."""
    last = read()
    while True:
        time.sleep(0.15)
        now = read()
        if now == last:
            return now
        last = now


def difference(after, before):
    names = sorted(after)
    return {n: after[n] - before.get(n, 0) for n in names if after[n] != before.get(n, 0)}


class Counting:
    def __init__(self, store, redis):
        self.store, self.redis, self.failed, self.rows = store, redis, 0, []

    def check(self, name, act, s3, redis=None, times=1):
        """`act` must cost exactly these requests, `times` times."""
        before = settled(lambda: s3_counts(self.store)), redis_calls(self.redis)
        act()
        after = settled(lambda: s3_counts(self.store)), redis_calls(self.redis)
        found_s3 = difference(after[0], before[0])
        found_redis = difference(after[1], before[1])
        wanted_s3 = {verb: count * times for verb, count in s3.items()}
        wanted_redis = {verb: count * times for verb, count in (redis or {}).items()}
        good = found_s3 == wanted_s3 and (redis is None or found_redis == wanted_redis)
        say = lambda counts: ", ".join(f"{n} {v}" for n, v in counts.items()) or "none"
        line = f"{name}: S3 {say(found_s3)}"
        if redis is not None:
            line += f"; Redis {say(found_redis)}"
        if not good:
            self.failed += 1
            line += f" — WANTED S3 {say(wanted_s3)}"
            line += f"; Redis {say(wanted_redis)}" if redis is not None else ""
        self.rows.append(line)
        print(("ok      " if good else "FAILED  ") + line, flush=True)


def request(registry, method, path, body=None, headers=None, wanted=200):
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != wanted:
        raise RuntimeError(f"{method} {path}: {answer.status} instead of {wanted}")
    return answer


def reads(count, registries, store_images):
    """Pulls: by who knows nothing, by who has asked Redis before, by who remembers."""
    tag, digest, layers = store_images
    cold, shared, alone, fresh = registries

    def ask(registry, path, method="GET", expect=200, times=1, connections=1):
        return lambda: measured(
            "requests", "--server", registry.address, "--path", path, "--method", method,
            "--expect", expect, "--count", times, "--connections", connections,
        )

    none = {}
    count.check("manifest by tag, cold", ask(cold, tag), {"get": 2})
    count.check("manifest by digest, cold", ask(cold, digest), {"get": 1})
    count.check("redirect, cold", ask(cold, layers[0], expect=307), {"get": 1})
    # The tag and the manifest, each of them once.
    count.check(
        "64 clients at once, a tag that nobody knows",
        ask(fresh, tag, times=64, connections=64), {"get": 2},
    )
    count.check(
        "64 clients at once, manifest by digest, Redis knows nothing",
        ask(shared, digest, times=64, connections=64), {"get": 1},
    )
    ask(shared, tag, times=2)()
    ask(shared, layers[0], expect=307)()
    count.check("manifest by tag, Redis knows", ask(shared, tag, times=50), none, {"get": 2}, 50)
    count.check("manifest by digest, Redis knows", ask(shared, digest, times=50), none, {"get": 1}, 50)
    count.check("HEAD manifest, Redis knows", ask(shared, tag, "HEAD", times=50), none, {"get": 2}, 50)
    redirect = ask(shared, layers[0], expect=307, times=50)
    count.check("redirect, Redis knows", redirect, none, {"get": 1}, 50)
    for path, method, expect, name in [
        (tag, "GET", 200, "manifest by tag"), (tag, "HEAD", 200, "HEAD manifest"),
        (layers[0], "GET", 307, "redirect"), (layers[0], "HEAD", 200, "HEAD blob"),
    ]:
        ask(alone, path, method, expect)()
        hot = ask(alone, path, method, expect, times=50)
        count.check(f"{name}, the process knows", hot, none, none)


def writes(count, registry):
    def push(way, size):
        return lambda: load(
            "push", "--server", registry.address, "--way", way, "--bytes", size,
            "--repository", "count/push",
        )

    # The numbers of docs/request-costs.md.
    count.check("blob of 1 KiB, POST and PUT", push("whole", 1024), {"put": 2})
    count.check("blob of 1 KiB, POST, PATCH, PUT", push("patch", 1024), {"get": 1, "put": 4})
    count.check("blob of 1 MiB, POST and PUT", push("whole", MIB), {"put": 3})
    count.check("blob of 1 MiB, POST, PATCH, PUT", push("patch", MIB), {"get": 1, "put": 6})
    large = {"create_upload": 1, "complete_upload": 1, "get": 1}
    for parts, tail in ((1, 4), (4, 0), (8, 0)):
        size = parts * 16 + tail
        wanted = {**large, "put_part": parts + bool(tail), "put": 6}
        count.check(f"blob of {size} MiB, POST, PATCH, PUT", push("patch", size * MIB), wanted)


def docker(count, registry):
    """An image of ten layers, with what docker asks for besides."""
    act = lambda way: lambda: measured("docker", "--server", registry.address, "--way", way, "--seed", 1)
    # For each of 11 blobs a HEAD and its upload. The manifest reads 11 links, and writes five times.
    push = {"get": 11 + 11 + 11, "put": 10 * 6 + 4 + 5}
    count.check("image of ten layers, pushed as docker does", act("push"), push)
    # The manifest and its tag index are there: their writes are refused, and they and the tag are
    # read, and the manifest once more.
    again = {"get": 11 + 11 + 4, "put": 2}
    count.check("the same push again", act("push"), again)
    # Tag, manifest, links; the data of the layers after redirects.
    count.check("the same image pulled", act("pull"), {"get": 2 + 11 + 10})


def pages(count, registry, alone):
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(b"{}"), "layers": [descriptor(b"{}")],
    })
    header = {"content-type": "application/vnd.oci.image.manifest.v1+json"}
    put = f"/v2/count/pages/blobs/uploads/?digest=sha256:{sha256(b'{}').hexdigest()}"
    request(registry, "POST", put, b"{}", {"content-type": "application/octet-stream"}, 201)
    path = "/v2/count/pages/manifests/v1"
    push = lambda tag: request(registry, "PUT", path + tag, manifest, header, 201)
    # One blob named twice is one link: read; manifest, reverse index, marker; tag; manifest again.
    count.check("manifest of one blob, first of its repository", lambda: push("a"), {"get": 1, "put": 5})
    # The link, the manifest and the tag are read; the manifest is touched before and after the tag.
    count.check("the same manifest under another tag", lambda: push("b"), {"get": 3, "put": 5})
    count.check("a page of tags", lambda: request(registry, "GET", "/v2/count/pages/tags/list"), {"list": 1})
    count.check("a page of the catalog", lambda: request(registry, "GET", "/v2/_catalog?n=1000"), {"list": 1})
    for name, of in (("tags", "/v2/count/pages/tags/list"), ("the catalog", "/v2/_catalog?n=1000")):
        page = lambda of=of: request(alone, "GET", of)
        page()
        count.check(f"a page of {name}, the process knows", page, {}, {})
    remove = lambda: request(registry, "DELETE", path + "b", wanted=202)
    count.check("a tag deleted", remove, {"get": 1, "put": 1})


def descriptor(body):
    return {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": "sha256:" + sha256(body).hexdigest(), "size": len(body),
    }


def delays(servers, store, redis):
    """Whether small packets leave at once, on sockets to clients, to the store and to Redis: what
    is held back until the last one was acknowledged costs up to 40 ms, and only now and then."""
    trace = os.path.join(servers.folder, "sockets")
    strace = ["strace", "-f", "-q", "-o", trace, "-e", "trace=setsockopt,connect,accept4"]
    registry = servers.longshore(
        "count", store, before=strace, CACHE_REDIS=f"redis://{redis.address}"
    )
    request(registry, "GET", "/v2/count/nothing/manifests/v1", wanted=404)
    servers.stop(registry)
    with open(trace) as file:
        text = file.read()
    found = 0
    for what, opened in (
        ("from clients", r"accept4\(.*\) = (\d+)$"),
        ("to the store", rf"connect\((\d+), .*htons\({store.port}\)"),
        ("to Redis", rf"connect\((\d+), .*htons\({redis.port}\)"),
    ):
        sockets = set(re.findall(opened, text, re.MULTILINE))
        options = [re.findall(rf"setsockopt\({fd}, SOL_TCP, TCP_NODELAY, \[(\d)\]", text) for fd in sockets]
        good = bool(sockets) and all(options) and all(set(values) == {"1"} for values in options)
        found += good
        print(("ok      " if good else "FAILED  ") + f"sockets {what} do not delay: {options}", flush=True)
    return found


def run(logs):
    with Servers(logs) as servers:
        store, redis = servers.null_store(), servers.redis()
        count = Counting(store, redis)
        address = f"redis://{redis.address}"
        redirect = {"BLOBS_DELIVERY": "redirect"}
        cold = servers.longshore("count", store, **redirect)
        # The same bucket: three processes of one registry.
        shared = servers.longshore("count", store, CACHE_REDIS=address, **redirect)
        alone = servers.longshore("count", store, CACHE_LOCAL_TTL="1h", **redirect)
        fresh = servers.longshore("count", store, CACHE_LOCAL_TTL="1h", **redirect)
        pushed = images(cold, "--layer-bytes", 100_000, "--layers", 3)
        reads(count, (cold, shared, alone, fresh), pushed[0])
        writes(count, cold)
        docker(count, cold)
        pages(count, cold, alone)
        good = delays(servers, store, redis)
    failed = count.failed + 3 - good
    print(f"load: {len(count.rows) + 3 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0
