"""Overview: what clients ask for, what they get, how fast, and who is refused."""
from . import OURS, graph, highest, increase, quantile, rate, series, share, stat, total

NAME, TITLE = "overview", "Overview"
ABOUT = "Rate, errors, latency and bytes of the requests of clients, and who is refused."
VARIABLES = []

REQUESTS = "longshore_http_requests_total"
REFUSED = 'result!="allowed"'

STATE = [
    stat("Processes by version", "short", "every process that should run is there, in one version.",
         (total("longshore_build_info", "version"), "{{version}}")),
    stat("Requests per second", "reqps", "the number is usual for this time of the day.",
         (rate(REQUESTS), "")),
    stat("Failed requests", "percentunit", "0, and below 0.1 % while a process is restarted.",
         (share(rate(REQUESTS, where='code=~"5.."'), rate(REQUESTS)), ""), limits=(0.001, 0.02)),
    stat("Requests in flight", "short",
         "the number follows the transfers, and does not grow for hours.",
         (total("longshore_http_requests_in_flight"), "")),
]

RATE_AND_ERRORS = [
    graph("Requests by operation", "reqps", "the mix of pulls and pushes changes slowly.",
          (rate(REQUESTS, "route"), "{{route}}"), stacked=True),
    graph("Responses by status", "reqps",
          "nearly all are 2xx and 307, besides 401 as a login begins and 404 as a push asks.",
          (rate(REQUESTS, "code"), "{{code}}"), stacked=True),
    graph("Failed requests by operation", "reqps", "there are none.",
          (rate(REQUESTS, "route, code", 'code=~"5.."'), "{{route}} {{code}}")),
    graph("Responses that broke off", "reqps",
          "only clients break off, and rarely: a store or an idle timeout that does so is a fault.",
          (rate("longshore_http_broken_responses_total", "by"), "{{by}}")),
    graph("Damage that a request met, per hour", "short",
          "0, because nothing but Longshore deletes from the bucket.",
          (increase("longshore_dangling_tags_total", "1h"), "pulls of a tag without its manifest"),
          (increase("longshore_repaired_records_total", "1h"), "records that a push repaired")),
]

TTFB, DURATION = "longshore_http_ttfb_seconds", "longshore_http_request_duration_seconds"
LATENCY = [
    graph("Time to first byte, median", "s",
          "reads take some 10 ms, or the time of one request to the store.",
          (quantile(0.5, TTFB, "route"), "{{route}}")),
    graph("Time to first byte, 99th percentile", "s",
          "reads stay below 1 s, and uploads take as long as their clients send.",
          (quantile(0.99, TTFB, "route"), "{{route}}")),
    graph("Duration with the transfer, 99th percentile", "s",
          "it is near the time to first byte, except for blobs, where clients decide the speed.",
          (quantile(0.99, DURATION, "route, method"), "{{method}} {{route}}")),
]

BYTES = [
    graph("Bytes received", "Bps", "uploads alone receive bytes worth mentioning.",
          (rate("longshore_http_request_body_bytes_sum", "route"), "{{route}}"), stacked=True),
    graph("Bytes sent", "Bps",
          "blobs make up nearly all of it, or nothing where clients are redirected to the store.",
          (rate("longshore_http_response_body_bytes_sum", "route"), "{{route}}"), stacked=True),
    graph("Downloads of blobs by way", "reqps",
          "clients take the way that blobs.delivery intends, and small blobs come inline.",
          (rate("longshore_blob_serves_total", "mode, reason"), "{{mode}}, {{reason}}")),
    graph("Bytes stored by namespace", "bytes",
          "no namespace grows faster than you expect; the graph needs metrics.inventory.",
          ("max by (namespace) (label_replace("
           f'longshore_namespace_bytes{{instance=~"$instance"}} {OURS}, '
           '"namespace", "$1", "exported_namespace", "(.+)"))', "{{namespace}}")),
    graph("Quotas used", "percentunit",
          "below 90 %, which is where an alert fires; the graph needs [[quotas]].",
          ("max by (namespace) (label_replace("
           '(longshore_quota_used_bytes{instance=~"$instance"} / longshore_quota_limit_bytes) '
           f'{OURS}, "namespace", "$1", "exported_namespace", "(.+)"))', "{{namespace}}"),
          limits=(0.9, 1)),
    graph("Age of the last usage scan", "s",
          "below metrics.inventory, or usage.interval for quotas, and the duration of a scan.",
          (f"time() - {highest('longshore_inventory_last_success_timestamp_seconds')}", "metrics"),
          (f"time() - {highest('longshore_quota_last_scan_timestamp_seconds')}", "quotas")),
    graph("Usage scans of the last day", "short", "they are done, and none has failed.",
          (increase("longshore_inventory_runs_total", "1d", "result"), "{{result}}")),
]

REFUSALS = [
    graph("Refused requests by status", "reqps",
          "401 goes with the logins below, and 403 and 429 are near 0.",
          (rate(REQUESTS, "code", 'code=~"401|403|429"'), "{{code}}")),
    graph("Why logins are refused", "reqps",
          "nearly all are no_credentials, the first request of each client that logs in.",
          (rate("longshore_auth_total", "method, reason", REFUSED), "{{method}}, {{reason}}")),
    graph("Wrong credentials", "reqps",
          "far below 5 a second, which is where an alert assumes that someone guesses passwords.",
          (rate("longshore_auth_total", "reason",
                f'method=~"basic|bearer",{REFUSED},reason!="token_scope"'), "{{reason}}")),
    graph("Refused by limits", "reqps",
          "nothing, or the callers that [limits] is meant for, and no pushes to a full namespace.",
          (rate("longshore_limited_total", "limit, by"), "{{by}}: {{limit}}"),
          (rate("longshore_quota_refusals_total"), "quota")),
    graph("Allowed requests by credentials", "reqps",
          "the method none appears only if access.anonymous is meant to allow something.",
          (rate("longshore_auth_total", "method", 'result="allowed"'), "{{method}}")),
]

RELOADED = "longshore_config_last_reload_timestamp_seconds"
PROCESSES = [
    graph("Resident memory", "bytes",
          "each process stays below the memory limit of its container (docs/limits.md).",
          (f"process_resident_memory_bytes {OURS}", "{{instance}}")),
    graph("CPU", "short", "each process stays below the CPUs that it may use.",
          (f"rate(process_cpu_seconds_total[$__rate_interval]) {OURS}", "{{instance}}")),
    graph("Open files, share of the limit", "percentunit", "below 80 %.",
          (f"process_open_fds / process_max_fds {OURS}", "{{instance}}"), limits=(0.8, 0.95)),
    graph("Reloaded files", "short", "1: the last reload of each file succeeded.",
          (f"min by (instance, file) ({series('longshore_config_last_reload_successful')})",
           "{{file}} ({{instance}})")),
    graph("Lines of the audit log", "short", "none is missing; without an audit log both are 0.",
          (rate("longshore_audit_log_lines_total"), "written"),
          (rate("longshore_audit_log_missing_lines_total"), "missing")),
    graph("Time until the certificate expires", "s",
          "more than 14 days; without TLS in Longshore there is no line.",
          (f"min({series('longshore_tls_cert_not_after_seconds')}) - time()", "certificate"),
          signed=True),
    graph("Age of the last reload", "s",
          "it falls to 0 when you change the file; every process shows the same.",
          (f"time() - {highest(RELOADED, 'instance, file')}",
           "{{file}} ({{instance}})")),
]

ROWS = [("State", STATE), ("Rate and errors", RATE_AND_ERRORS), ("Latency", LATENCY),
        ("Bytes", BYTES), ("Who is refused", REFUSALS), ("Processes", PROCESSES)]
