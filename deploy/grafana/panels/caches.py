"""Caches: the read cache in the processes and in Redis, and the caches of credentials."""
from . import graph, highest, increase, quantile, rate, stat

NAME, TITLE = "caches", "Caches"
ABOUT = "The read cache in each process and in Redis, and the caches of verified credentials."
VARIABLES = []

LOOKUPS, LATENCY = "longshore_cache_requests_total", "longshore_cache_latency_seconds"
READS, LOGINS = 'cache=~"manifest|tag|blob|list"', 'cache=~"token|password"'
LOCAL, REDIS = 'layer="local"', 'layer="redis"'
FOUND, UNANSWERED = 'result=~"hit|joined"', 'result=~"error|skipped"'
STALE = "longshore_cache_stale_writes_total"


def hit_share(by, where):
    """0 where nothing was found yet, and no line without lookups, rather than 0 divided by 0."""
    found, all_lookups = rate(LOOKUPS, by, f"{where},{FOUND}"), rate(LOOKUPS, by, where)
    return f"({found} or {all_lookups} * 0) / ({all_lookups} > 0)"


STATE = [
    stat("Redis answers", "percentunit", "100 %; without cache.redis there is no number.",
         (f"1 - ({rate(LOOKUPS, where=f'{REDIS},{UNANSWERED}')} or vector(0))"
          f" / ({rate(LOOKUPS, where=REDIS)} > 0)", "")),
    stat("Found in Redis", "percentunit", "above 80 % where the same images are pulled again.",
         (hit_share("", REDIS), "")),
    stat("Processes without Redis", "short",
         "0: no circuit breaker is open.",
         (f"sum({highest('longshore_cache_breaker_state', 'instance')})", ""), limits=(1, 2)),
    stat("Stale writes of the last hour", "short", "0: Redis has got each invalidation in time.",
         (increase(STALE, "1h"), ""), limits=(1, 10)),
]

PROCESS = [
    graph("Lookups in the process", "reqps",
          "joined means that one read serves several clients; hits need cache.local_ttl.",
          (rate(LOOKUPS, "result", f"{LOCAL},{READS}"), "{{result}}"), stacked=True),
    graph("Found in the process", "percentunit",
          "0 with a bucket and without cache.local_ttl, and above 50 % with it or with a folder.",
          (hit_share("cache", f"{LOCAL},{READS}"), "{{cache}}")),
    graph("Found credentials", "percentunit",
          "above 90 %, because a password that is not found costs 0.1 s of a CPU and more.",
          (hit_share("cache", f"{LOCAL},{LOGINS}"), "{{cache}}")),
]

SHARED = [
    graph("Lookups in Redis", "reqps", "hits lead, and error and skipped are 0.",
          (rate(LOOKUPS, "result", REDIS), "{{result}}"), stacked=True),
    graph("Found in Redis by kind", "percentunit",
          "manifests and blobs above 90 %; tags less, because they live for cache.tag_ttl only.",
          (hit_share("cache", REDIS), "{{cache}}")),
    graph("Reads that Redis saves the store", "reqps",
          "it follows the pulls, and the requests to the store do not.",
          (rate(LOOKUPS, "cache", f'{REDIS},result="hit"'), "{{cache}}"), stacked=True),
    graph("Requests to Redis", "reqps",
          "get leads, fill follows the misses, and invalidate the writes.",
          (rate(f"{LATENCY}_count", "op"), "{{op}}"), stacked=True),
    graph("Latency of Redis, median", "s", "below 1 ms in one data centre.",
          (quantile(0.5, LATENCY, "op"), "{{op}}")),
    graph("Latency of Redis, 99th percentile", "s", "far below cache.redis_timeout, 50 ms.",
          (quantile(0.99, LATENCY, "op"), "{{op}}"), limits=(0.05,)),
]

TROUBLE = [
    graph("Errors of Redis", "reqps", "there are none.",
          (rate("longshore_cache_errors_total", "op, reason"), "{{op}}, {{reason}}")),
    graph("Circuit breaker", "short", "0: each process asks Redis.",
          (highest("longshore_cache_breaker_state", "instance"), "{{instance}}")),
    graph("Writes that Redis has not got, per hour", "short",
          "0; each may let other processes serve a former state for up to cache.tag_ttl.",
          (increase(STALE, "1h", "instance"), "{{instance}}")),
    graph("Refused values, per hour", "short",
          "forged is 0: no other program writes to the keys of this registry.",
          (increase("longshore_cache_refused_values_total", "1h", "reason"), "{{reason}}")),
]

ROWS = [("State", STATE), ("In the process", PROCESS), ("In Redis", SHARED),
        ("What goes wrong", TROUBLE)]
