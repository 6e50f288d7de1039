"""Uploads: the memory that they share, the sessions, and the parts that go to the store."""
from . import graph, highest, increase, quantile, rate, series, stat, total

NAME, TITLE = "uploads", "Uploads"
ABOUT = "Uploads: the budget of memory, the sessions, the parts, and how uploads end."
VARIABLES = [("buffer_bytes", "uploads.buffer_bytes", "536870912")]

MEMORY = "longshore_upload_inflight_bytes"
WAITED = "longshore_upload_backpressure_seconds_total"
COMMITS = "longshore_upload_commits_total"
PART_BYTES, PART_SECONDS = "longshore_upload_part_bytes", "longshore_upload_part_seconds"
ROUTES = 'route=~"start_upload|upload_chunk|finish_upload"'

STATE = [
    stat("Upload memory of the fullest process", "percentunit",
         "below 80 %, with uploads.buffer_bytes above set to yours.",
         (f"{highest(MEMORY)} / $buffer_bytes", ""), limits=(0.8, 0.95)),
    stat("Uploads that wait for memory", "short", "0: the store takes data as fast as it comes.",
         (rate(WAITED), ""), limits=(0.5, 1)),
    stat("Requests that receive data", "short", "the number follows the pushes of your builds.",
         (total("longshore_upload_sessions"), "")),
    stat("Abandoned multipart uploads", "short",
         "0, or a few that garbage collection will end; the number needs metrics.inventory.",
         (highest("longshore_orphan_mpu"), "")),
]

BUDGET = [
    graph("Upload memory by process", "bytes",
          "it falls back to 0 between pushes and stays below the line of uploads.buffer_bytes.",
          (series(MEMORY), "{{instance}}"), ("vector($buffer_bytes)", "uploads.buffer_bytes")),
    graph("Uploads that wait for memory, by process", "short",
          "0; 1 means that one upload waits all the time, because the store is too slow.",
          (rate(WAITED, "instance"), "{{instance}}")),
]

SESSIONS = [
    graph("Requests that receive data, by process", "short",
          "the processes share the uploads, far below uploads.concurrent_max.",
          (series("longshore_upload_sessions"), "{{instance}}")),
    graph("Uploads by how they ended", "reqps",
          "created, exists and mounted; digest_mismatch means that something corrupts data.",
          (rate(COMMITS, "result"), "{{result}}"), stacked=True),
    graph("Uploads of the last hour that added nothing", "short",
          "digest_mismatch is 0, and aborted is rare.",
          (increase(COMMITS, "1h", "result", 'result=~"digest_mismatch|aborted"'), "{{result}}")),
    graph("Refused and failed requests of uploads", "reqps",
          "only 401 at the start of a login; 413, 416 and 503 name limits in docs/limits.md.",
          (rate("longshore_http_requests_total", "route, code", f'{ROUTES},code=~"4..|5.."'),
           "{{route}} {{code}}")),
]

PARTS = [
    graph("Bytes from clients and to the store", "Bps",
          "both follow each other; parts leave out blobs below a part.",
          (rate("longshore_http_request_body_bytes_sum", where=ROUTES), "from clients"),
          (rate(f"{PART_BYTES}_sum"), "to the store, in parts")),
    graph("Parts written", "reqps", "one for each 16 MiB of large layers.",
          (rate(f"{PART_BYTES}_count"), "parts")),
    graph("Average size of a part", "bytes",
          "near uploads.part_bytes; near 5 MiB means that memory is short.",
          (f"{rate(f'{PART_BYTES}_sum')} / {rate(f'{PART_BYTES}_count')}", "bytes")),
    graph("Time to write a part", "s",
          "well below 1 s, because it limits the speed of a single upload.",
          (quantile(0.5, PART_SECONDS), "median"),
          (quantile(0.99, PART_SECONDS), "99th percentile")),
    graph("Speed of one part", "Bps", "as fast as the store is known to take one connection.",
          (f"{rate(f'{PART_BYTES}_sum')} / {rate(f'{PART_SECONDS}_sum')}", "bytes"), width=24),
]

ROWS = [("State", STATE), ("Budget", BUDGET), ("Sessions", SESSIONS), ("Parts", PARTS)]
