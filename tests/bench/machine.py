"""The machine: what it is, and what else it was doing."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
"""The repository."""
FOLDER = ROOT / ".bench"
"""Where data and reports go. It hides itself from git."""


class Facts(msgspec.Struct, frozen=True):
    """What numbers depend on."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    filesystem: str
    python: str
    sqlite: str
    load: float


def facts() -> Facts:
    """This machine."""
    return Facts(
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        kernel=platform.release(),
        filesystem=_filesystem(folder()),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        load=round(os.getloadavg()[0], 2),
    )


def folder() -> Path:
    """`FOLDER`, made if it is not there."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    return FOLDER


def background(seconds: float = 0.2) -> float:
    """The share (0 to 1) of all cores that is in use while this process waits."""
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    total = sum(after) - sum(before)
    idle = sum(after[3:5]) - sum(before[3:5])
    return 1 - idle / total if total else 0.0


def resident(pid: int | str = "self") -> float:
    """The resident memory of a process, in MiB."""
    return int((_field(f"/proc/{pid}/status", "VmRSS") or "0").split()[0]) / 1024


def _ticks() -> list[int]:
    with Path("/proc/stat").open() as stat:
        return [int(each) for each in stat.readline().split()[1:9]]


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _filesystem(path: Path) -> str:
    """The type and device of the mount that holds `path`."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    inside = [each for each in mounts if path.is_relative_to(each[1])]
    device, _, kind, *_ = max(inside, key=lambda each: len(each[1]))
    return f"{kind} on {device}"
