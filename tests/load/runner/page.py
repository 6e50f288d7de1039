"""Writes the tables into the page, between its two markers."""

import os
import platform
import re
import subprocess
import sys


def said(command, pattern="(.+)"):
    """What a program says about its version."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return None
    found = re.search(pattern, ran.stdout + ran.stderr)
    return found.group(1).strip() if found else None


def machine():
    with open("/proc/cpuinfo") as file:
        text = file.read()
    model = re.search(r"model name\s*: (.+)", text)
    flags = re.search(r"flags\s*: (.+)", text)
    sha = "with SHA extensions" if flags and "sha_ni" in flags.group(1) else "without SHA extensions"
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    name = model.group(1) if model else platform.machine()
    return f"{os.cpu_count()} cores of {name}, {sha}, {gib} GiB, Linux {platform.release()}"


def versions():
    found = [
        ("Longshore", said([os.environ["REGISTRY_BINARY"], "--version"], r"(\d\S*)"), said(["git", "rev-parse", "--short", "HEAD"])),
        ("distribution", said(["registry", "--version"], r"\s(v\d\S*)"), None),
        ("docker-registry", said(["docker-registry", "--version"], r"(v?\d\S*)"), None),
        ("Redis", said(["redis-server", "--version"], r"v=(\S+)"), None),
        ("MinIO", said(["minio", "--version"], r"version (\S+)"), None),
        ("rustc", said(["rustc", "--version"], r"(\d\S*)"), None),
    ]
    return [f"{name} {version}{f' ({of})' if of else ''}" for name, version, of in found if version]


def number(value):
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value)}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def bound(figure, value):
    if value is None:
        return ""
    return f"{'≤' if figure.less else '≥'} {number(value)}"


def tables(bench):
    lines = []
    for group, rows in bench.figures.items():
        lines += ["", f"### {group}", ""]
        lines += ["| | median | least to most | unit | floor | goal | reached |", "|---|---|---|---|---|---|---|"]
        for row in rows.values():
            spread = f"{number(min(row.values))} to {number(max(row.values))}" if len(row.values) > 1 else ""
            cells = [row.name, number(row.median()), spread, row.unit]
            cells += [bound(row, row.floor), bound(row, row.goal), row.verdict()]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def markers(name):
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def check(path, name):
    """Fails before anything is measured if the page has no place for the table."""
    with open(path) as file:
        text = file.read()
    for marker in markers(name):
        if marker not in text:
            sys.exit(f"{path} has no line {marker}")


def put(path, name, lines):
    """Replaces what stands between the two markers of this name."""
    begin, end = markers(name)
    with open(path) as file:
        text = file.read()
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    with open(path, "w") as file:
        file.write(before + "\n".join([begin, *lines, end]) + after)


def made_where():
    return [f"Machine: {machine()}.", f"Versions: {', '.join(versions())}."]


def write(path, mode, bench):
    command = f"tests/load/run {mode}"
    sizes = ", ".join(f"{name} {value}" for name, value in bench.sizes.items())
    lines = [f"Made by `{command}` ({sizes})."]
    lines += [*made_where(), *bench.notes]
    if mode != "full":
        lines.append("**These are not the full measurements**: sizes and times are small.")
    put(path, "figures", [*lines, *tables(bench)])
