"""Collector: the runs of garbage collection, what they free, and what they keep and why."""
from . import graph, highest, increase, rate, series, stat, total

NAME, TITLE = "collector", "Garbage collection"
ABOUT = "Garbage collection: its runs, what it freed, what it kept and why, and the quarantine."
VARIABLES = []

RUNS, LAST = "longshore_collection_runs_total", "longshore_collection_last_run"
SECONDS = "longshore_collection_duration_seconds"
AGE = f"time() - {highest('longshore_collection_last_success_timestamp_seconds')}"
DONE, KEPT = 'fate=~"removed|repaired"', 'fate!~"removed|repaired"'
CANDIDATE = 'fate="first_sighting"'

STATE = [
    stat("Age of the last good run", "s",
         "below collection.interval (6 hours) and the duration of a run.", (AGE, "")),
    stat("The same in intervals", "short", "below 2; at 3 an alert fires.",
         (f"({AGE}) / {highest('longshore_collection_interval_seconds')}", ""), limits=(2, 3)),
    stat("Failed runs of the last day", "short", "0; the next run continues one that failed.",
         (increase(RUNS, "1d", where='result="failed"'), ""), limits=(1, 3)),
    stat("Bytes in quarantine", "bytes",
         "it falls when collection.quarantine has ended for what was deleted.",
         (highest("longshore_quarantine_bytes"), "")),
]

RUN = [
    graph("Runs of the last day by result", "short",
          "as many done as collection.interval gives (4), the other results near 0.",
          (increase(RUNS, "1d", "result"), "{{result}}")),
    # Not over the last day: the increase of a histogram leaves out the first run of a process.
    graph("Duration of a run, average since the start of a process", "s",
          "far below collection.interval.",
          (f"{total(f'{SECONDS}_sum', 'instance')} / {total(f'{SECONDS}_count', 'instance')}",
           "{{instance}}")),
    graph("Requests to the store", "reqps",
          "short bursts, below collection.requests_per_second.",
          (rate("longshore_collection_requests_total", "instance"), "{{instance}}")),
    graph("Age of the last good run, over time", "s",
          "a saw whose teeth are as long as collection.interval.",
          (AGE, "age")),
]

FREED = [
    graph("Removed in the last day by class", "short",
          "it follows the deletions of the days before, delayed by grace and quarantine.",
          (increase("longshore_collection_removed_total", "1d", "class"), "{{class}}"),
          stacked=True),
    graph("Bytes freed in the last day", "bytes",
          "in the long run as many as clients delete or overwrite.",
          (increase("longshore_collection_freed_bytes_total", "1d"), "freed")),
    graph("Removed by the last run of a process", "short",
          "small numbers; many at once follow a large deletion.",
          (f"{series(LAST, DONE)} > 0", "{{class}} {{fate}} ({{instance}})"),
          width=24),
]

WAITING = [
    graph("Kept by the last run of a process, by class and fate", "short",
          "grace and quarantine end by themselves; changed, named and unreadable are near 0.",
          (f"{series(LAST, KEPT)} > 0", "{{class}} {{fate}} ({{instance}})"), width=24),
    graph("Candidates: what a second run will remove", "short",
          "it rises after deletions, and is gone a run later.",
          (f"{series(LAST, CANDIDATE)} > 0", "{{class}} ({{instance}})")),
    graph("Data objects in quarantine", "short",
          "it falls when collection.quarantine has ended for what was deleted.",
          (series("longshore_quarantine_objects"), "{{instance}}")),
    graph("Bytes in quarantine by process", "bytes",
          "the process that ran last has the right number, the others that of their own last run.",
          (series("longshore_quarantine_bytes"), "{{instance}}"), width=24),
]

ROWS = [("State", STATE), ("Runs", RUN), ("Freed", FREED), ("Kept and waiting", WAITING)]
