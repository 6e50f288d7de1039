"""Where the registry's time goes: samples of `perf`, by what the sampled function belongs to."""

import os
import re
import shutil
import subprocess

import page
from processes import Servers, images, measured

REDIRECT = {"BLOBS_DELIVERY": "redirect"}
HERTZ = 999
# The first that fits. What is called from several places is what it does, not who wanted it.
PARTS = [
    ("SHA-256", r"sha2::"),
    ("MD5 of entries (`Content-MD5`)", r"md5::"),
    ("bytes from the kernel and to it", r"_copy_(from|to)_iter|copy_user|__skb_datagram_iter|skb_copy_datagram"),
    ("bytes in memory", r"^__?mem(move|cpy|set)|^_?_?mem(move|cpy|set)_"),
    ("fresh memory from the kernel", r"page_fault|clear_page|anonymous_page|unmap_page|^mas_|folio|charge|"
     r"get_page_from|alloc_pages|free_pages|free_frozen|zap_|madvise|lock_vma|handle_mm|pte|tlb|zone|vma|lru_|rmqueue|free_unref"),
    ("allocator", r"^_?mi_|mi_(theap|page|free|malloc|heap)|alloc::alloc::"),
    ("XML of S3", r"xml"),
    ("AWS's SDK", r"aws_|AwsUserAgent"),
    ("HTTP: hyper, http, httparse", r"hyper|httparse|^http::|http_body|<http::|h2::"),
    ("tokio, futures", r"tokio|futures_|mio::"),
    ("tracing", r"tracing"),
    ("metrics", r"prometheus|telemetry::metrics"),
    ("Redis's client", r"redis::|deadpool"),
    ("Longshore", r"longshore::"),
]


def part_of(symbol, kernel):
    for name, pattern in PARTS:
        if re.search(pattern, symbol):
            return name
    return "the kernel: sockets, TCP, scheduling" if kernel else "everything else"


class Profile:
    def __init__(self, servers):
        self.servers, self.columns = servers, {}

    def record(self, name, registry, act):
        """Runs `act` while the registry is sampled."""
        samples = os.path.join(self.servers.folder, "samples")
        command = ["perf", "record", "-q", "-F", str(HERTZ), "-o", samples, "-p", str(registry.process.pid)]
        perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            act()
        finally:
            perf.send_signal(2)
            perf.wait()
        said = subprocess.run(
            ["perf", "report", "-i", samples, "--stdio", "-q", "--no-children", "--sort", "symbol", "-F", "sample,symbol"],
            capture_output=True, text=True, check=True,
        ).stdout
        shares, all_of_them = {}, 0
        for line in said.splitlines():
            found = re.match(r"\s*(\d+)\s+\[(.)\] (.+)", line)
            if found:
                count = int(found.group(1))
                part = part_of(found.group(3).strip(), found.group(2) == "k")
                shares[part] = shares.get(part, 0) + count
                all_of_them += count
        if all_of_them < 100:
            raise RuntimeError(f"{name}: perf saw {all_of_them} samples; may it look at processes?")
        self.columns[name] = {part: count / all_of_them * 100 for part, count in shares.items()}
        print(f"{name}: {all_of_them} samples", flush=True)

    def table(self):
        parts = sorted(
            {part for column in self.columns.values() for part in column},
            key=lambda part: -max(column.get(part, 0) for column in self.columns.values()),
        )
        lines = ["", "| of 100 samples | " + " | ".join(self.columns) + " |"]
        lines.append("|---|" + "---:|" * len(self.columns))
        for part in parts:
            cells = [f"{column.get(part, 0):.1f}" for column in self.columns.values()]
            lines.append(f"| {part} | " + " | ".join(cells) + " |")
        return lines


def reads(profile):
    servers = profile.servers
    store = servers.null_store()
    hot = servers.longshore("reads", store, CACHE_LOCAL_TTL="1h", **REDIRECT)
    tag, _, layers = images(hot, "--layer-bytes", 100_000)[0]
    for name, path, expect in (("GET manifest", tag, 200), ("GET blob → 307", layers[0], 307)):
        ask = lambda: measured(
            "requests", "--server", hot.address, "--path", path, "--expect", expect,
            "--seconds", 5, "--warm-up", 0,
        )
        ask()
        profile.record(name, hot, ask)
    cold = servers.longshore("reads", store)
    fill = ("entries", "--endpoint", f"http://{store.address}", "--bucket", "bench", "--prefix", "reads")
    measured(*fill, "--repository", "load/image-0", "--like", "v0", "--count", 3000)
    path = "/v2/load/image-0/tags/list?n=1000"
    profile.record("cold page of 1,000 tags", cold, lambda: measured(
        "requests", "--server", cold.address, "--path", path, "--count", 1000, "--connections", 1
    ))
    for server in (cold, hot, store):
        servers.stop(server)


def pushes(profile):
    servers = profile.servers
    null = servers.null_store("--drop")
    registry = servers.longshore("pushes", null)
    push = lambda mib, count: lambda: measured(
        "push", "--server", registry.address, "--mib", mib, "--count", count
    )
    profile.record("push of 1 GiB", registry, push(1024, 4))
    profile.record("pushes of 1 MiB", registry, push(1, 1000))
    servers.stop(registry)
    servers.stop(null)
    minio, redis = servers.minio(), servers.redis()
    registry = servers.longshore("mixed", minio, CACHE_REDIS=f"redis://{redis.address}", **REDIRECT)
    profile.record("mixed sessions", registry, lambda: measured(
        "mixed", "--server", registry.address, "--seconds", 8, "--images", 20
    ))
    for server in (registry, redis, minio):
        servers.stop(server)


def run(path, logs):
    if not shutil.which("perf"):
        raise RuntimeError("perf is not installed (tests/support/tools/install peers)")
    with Servers(logs) as servers:
        profile = Profile(servers)
        reads(profile)
        pushes(profile)
    lines = [f"Made by `tests/load/run profile`: {HERTZ} samples a second of the registry's processor time."]
    lines += [*page.made_where(), *profile.table()]
    page.put(path, "profile", lines)
    print("\n".join(profile.table()))
    return 0
