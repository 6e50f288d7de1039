"""A store that is 30 ms away: what docker waits for when it pushes and pulls one image."""

import random
from functools import partial

from processes import empty_redis, measured

# What each direction takes. A request to the store and its answer take twice as long.
DELAY_MS = 15
LAYERS, LAYER_MIB, AT_ONCE = 10, 2, 5
GROUP = f"A store {2 * DELAY_MS} ms away: MinIO, Redis, redirects"
PUSH, AGAIN = f"push of {LAYERS} layers of {LAYER_MIB} MiB", "the same push again"
PULL = "pull of the image by a new process, Redis empty"
# Seconds, for Longshore. Hashing and sending the layers is a part of it, so no floor can hold for
# every machine.
GOALS = {PUSH: 1.2, AGAIN: 0.4, PULL: None}


def measure(bench, settings, peers):
    """All registries in turn, through the same delay. `peers` has what starts one, by its label."""
    servers = bench.servers
    minio, redis = servers.minio(), servers.redis()
    store = servers.delay(minio, DELAY_MS)
    round_trip(bench, store)
    settings = {"CACHE_REDIS": f"redis://{redis.address}", **settings}
    starts = {"Longshore": partial(servers.longshore, "far", store, **settings)}
    starts.update({label: partial(start, store, redis) for label, start in peers.items()})
    figures = {
        (label, row): bench.figure(
            GROUP, f"{row}: {label}", "s", goal=goal if label == "Longshore" else None, less=True
        )
        for row, goal in GOALS.items() for label in starts
    }
    for _ in range(bench.sizes["rounds"]):
        for label, start in starts.items():
            for row, seconds in an_image(servers, label, start, redis).items():
                figures[label, row].add(seconds)
                print(f"  {label}, {row}: {seconds:.2f} s", flush=True)
    for server in (store, redis, minio):
        servers.stop(server)


def round_trip(bench, store):
    """How long a request takes to the store and back. The timers of the delay go by milliseconds."""
    ask = ("--path", "/minio/health/live", "--connections", 1, "--count", 20)
    seen = measured("requests", "--server", store.address, *ask)
    trip = seen["p50_us"] / 1000
    if trip < 2 * DELAY_MS:
        raise RuntimeError(f"a request through the delay took {trip:.1f} ms instead of {2 * DELAY_MS}")
    bench.figure(GROUP, "a request to the store that does nothing", "ms").add(trip)


def an_image(servers, label, start, redis):
    """Pushes a new image twice, and pulls it where nothing is cached. Seconds of each."""
    seed = random.getrandbits(48)
    image = ("--seed", seed, "--repository", f"load/far-{seed}", "--layers", LAYERS)
    image += ("--layer-bytes", LAYER_MIB << 20, "--connections", AT_ONCE)
    seconds = {}

    def run(registry, way, row):
        seen = measured("docker", "--server", registry.address, "--way", way, *image)
        seconds[row] = seen["seconds"]
        return seen

    registry = start()
    # The configuration is a blob, too.
    for row, wanted in ((PUSH, LAYERS + 1), (AGAIN, 0)):
        uploaded = run(registry, "push", row)["uploaded"]
        if uploaded != wanted:
            raise RuntimeError(f"{label}, {row}: {uploaded} blobs were uploaded instead of {wanted}")
    servers.stop(registry)
    empty_redis(redis)
    registry = start()
    redirected = run(registry, "pull", PULL)["redirected"]
    if redirected < LAYERS:
        raise RuntimeError(f"{label}: {redirected} redirects for {LAYERS} layers")
    servers.stop(registry)
    return seconds
