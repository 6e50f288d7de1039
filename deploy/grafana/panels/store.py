"""Store: the requests to the bucket, what goes wrong with them, and what they cost."""
from . import graph, quantile, rate, series, share, stat

NAME, TITLE = "store", "Store"
ABOUT = "The requests to the bucket: how many, how slow, how many fail, and what they cost."
# The list prices of S3 Standard in us-east-1.
VARIABLES = [("price_writes", "Price of 1,000 writes and lists", "0.005"),
             ("price_reads", "Price of 1,000 reads", "0.0004")]

REQUESTS, SECONDS = "longshore_s3_requests_total", "longshore_s3_request_duration_seconds"
FAILED = 'outcome=~"4xx|5xx|timeout|connection_error"'
SLOWDOWN = 'outcome="slowdown"'
# What a provider bills: requests that the store has carried out or judged, but not deletions.
BILLED = 'outcome=~"2xx|404|409|412|4xx"'
WRITES = ('op=~"put_object|create_multipart|upload_part|complete_multipart|list_parts'
          f'|list_objects|list_multiparts",{BILLED}')
READS = f'op=~"get_object|head_object",{BILLED}'
HOUR, MONTH = 3600, 730 * 3600


def cost(seconds):
    """What the requests of so many seconds cost at the rate of now."""
    writes = f"({rate(REQUESTS, where=WRITES)} or vector(0)) * $price_writes"
    reads = f"({rate(REQUESTS, where=READS)} or vector(0)) * $price_reads"
    return f"({writes} + {reads}) * {seconds} / 1000"


STATE = [
    stat("Requests per second", "reqps", "it follows the requests of clients.",
         (rate(REQUESTS), "")),
    stat("Failed requests", "percentunit", "0, and single failures are repeated unnoticed.",
         (share(rate(REQUESTS, where=FAILED), rate(REQUESTS)), ""), limits=(0.001, 0.05)),
    stat("Cost per hour", "currencyUSD",
         "no more than you expect; it counts requests at the prices above and no bytes.",
         (cost(HOUR), "")),
    stat("Cost per month at this rate", "currencyUSD",
         "no more than you expect; it counts requests at the prices above and no bytes.",
         (cost(MONTH), "")),
]

CALLS = [
    graph("Requests by operation", "reqps",
          "get_object leads where clients pull, and list_objects is a small part.",
          (rate(REQUESTS, "op"), "{{op}}"), stacked=True),
    graph("Requests by outcome", "reqps",
          "nearly all are 2xx; 404 and 412 answer questions of pushes and are no errors.",
          (rate(REQUESTS, "outcome"), "{{outcome}}"), stacked=True),
    graph("Requests to the store for each request of a client", "short",
          "below 2 with pulls, below 0.5 with a warm Redis; docs/request-costs.md has each number.",
          (f"{rate(REQUESTS)} / {rate('longshore_http_requests_total')}", "requests")),
    graph("Requests of garbage collection", "reqps",
          "runs are short, and never above collection.requests_per_second.",
          (rate("longshore_collection_requests_total"), "garbage collection")),
]

ERRORS = [
    graph("Errors by operation", "reqps", "there are none.",
          (rate(REQUESTS, "op, outcome", FAILED), "{{op}} {{outcome}}")),
    graph("The store asks for fewer requests", "reqps", "it never does.",
          (f"{rate(REQUESTS, where=SLOWDOWN)} or vector(0)", "slowdown")),
    graph("Retries by operation", "reqps", "there are none, or single ones.",
          (rate("longshore_s3_retries_total", "op"), "{{op}}")),
    graph("Conditional writes that lost", "reqps",
          "a small part of the writes: two pushes of one tag, or a push of what is there.",
          (rate("longshore_s3_cas_conflicts_total", "op"), "{{op}}")),
]

LATENCY = [
    graph("Duration by operation, median", "s", "some 10 ms, and the same as last week.",
          (quantile(0.5, SECONDS, "op"), "{{op}}")),
    graph("Duration by operation, 99th percentile", "s",
          "below 1 s for records; complete_multipart may take longer.",
          (quantile(0.99, SECONDS, "op"), "{{op}}")),
    graph("Difference of the clocks", "s",
          "within a few seconds of 0, far from collection.clock_skew.",
          (series("longshore_store_clock_difference_seconds"), "{{instance}}"), signed=True),
    graph("Presigned URLs", "reqps",
          "nearly all use the cached key, because a key lasts a day.",
          (rate("longshore_presign_cache_total", "result"), "{{result}}")),
]

COST = [
    graph("Cost per hour, over time", "currencyUSD",
          "no more than you expect; the bytes stored and sent are not in it.",
          (cost(HOUR), "requests"), width=24),
]

ROWS = [("State", STATE), ("Calls", CALLS), ("Errors and retries", ERRORS),
        ("Latency", LATENCY), ("Cost", COST)]
