"""`python -m tests.bench`: measure Rewake, this machine's floor and, if asked to, other systems.

    python -m tests.bench [--store sqlite] [--only W1,W4] [--quick] [--repetitions 3] [PEERS]

`--store` names one of the databases that can be started here, or is the address of any, with
`{name}` in the place of a name that each measurement has for itself; `--blobs` is where its large
values are. Goals were set for SQLite: for another store none is shown.
PEERS is a folder of harnesses of other systems, which are run between our own repetitions.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.bench import durability, floor, fsyncs, load, machine, memory, report, stores, workloads
from tests.bench.measure import Sample
from tests.bench.peers import WORKLOADS, Peers
from tests.bench.report import Report, console
from tests.bench.stores import STORES
from tests.bench.workloads import QUICK, Sizes, Workload

_ONCE = ("W6", "load", "fsyncs", "limits")
"""What is measured once: it takes long, or does not vary."""
_LOCAL = ("fsyncs", "import", "laps", "limits")
"""What has nothing to do with the store, or with others than SQLite."""
_ALL = (
    *(*WORKLOADS, "W6", "W7", "events", "schedules", "laps", "limits"),
    *("load", "replay", "import", "fsyncs"),
)


def main() -> None:
    """Measure what the command line asks for, print it, and keep it."""
    options = _options()
    with stores.chosen(options.store, options.blobs):
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    durability.watch()
    # The retries that are measured would fill the report with a warning each.
    logging.getLogger("rewake").setLevel(logging.ERROR)
    sizes = QUICK if options.quick else Sizes()
    chosen = _chosen(sizes, options.only)
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    found = Report(began, machine.facts(), _floor(), options.store)
    report.show_machine(found)
    peers = _peers(options.peers)
    asked = options.repetitions or sizes.repetitions
    repetitions = 1 if set(options.only) <= set(_ONCE) else asked
    for repetition in range(repetitions):
        console.print(f"repetition {repetition + 1} of {repetitions}")
        for group in options.only:
            _measure_group([each for each in chosen if _group(each) == group], repetition)
            if peers is not None and group in WORKLOADS:
                _measure_peers(peers, group, sizes)
    found.rows = [row for each in chosen for row in each.rows]
    report.show_rows(found.rows)
    if peers is not None:
        if stores.is_sqlite():
            _count_syncs(peers)
        found.peers = peers.figures()
        report.show_peers(found.rows, found.peers)
    found.load_after = os.getloadavg()[0]
    written = report.save(found)
    console.print(f"load average at the end: {found.load_after:.2f}; written to {written}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("peers", nargs="?", type=Path, help="a folder of harnesses of others")
    parser.add_argument("--quick", action="store_true", help="less of everything, once")
    parser.add_argument("--repetitions", type=int, help="how often, if not as it is by default")
    parser.add_argument("--store", default="sqlite", help=f"{', '.join(STORES)}, or an address")
    parser.add_argument("--blobs", default="", help="where large values are, beside an address")
    parser.add_argument("--only", type=_names, default=list(_ALL), help=",".join(_ALL))
    options = parser.parse_args()
    if options.peers is not None and not options.peers.is_dir():
        parser.error(f"there is no folder {options.peers}")
    return options


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in _ALL]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there is {', '.join(_ALL)}")
    return names


def _floor() -> dict[str, float]:
    return {
        "append 4 KiB to a file and fsync it": floor.append(),
        "SQLite commit of 1 KiB, WAL and synchronous=FULL": floor.commit(),
        "empty POST to uvicorn over one connection": floor.post(),
    }


def _chosen(sizes: Sizes, only: Iterable[str]) -> list[Workload]:
    found = [*workloads.workloads(sizes), *memory.workloads(sizes), *load.workloads(sizes)]
    if not stores.is_sqlite():
        found = [each for each in found if _group(each) not in _LOCAL]
        for row in (row for each in found for row in each.rows):
            row.goal = None
    elif fsyncs.available():
        found += fsyncs.workloads(sizes.sequence)
    elif "fsyncs" in only:
        console.print("fsyncs: skipped, for there is no strace")
    return [each for each in found if _group(each) in only]


def _group(workload: Workload) -> str:
    return workload.rows[0].workload


# --- measuring ---------------------------------------------------------------------------------


def _measure_group(group: Sequence[Workload], repetition: int) -> None:
    for workload in group:
        if repetition and _group(workload) in _ONCE:
            continue
        background, before = machine.background(), floor.commit()
        values = asyncio.run(_measured(workload))
        after = floor.commit()
        for row, value in zip(workload.rows, values, strict=True):
            row.samples = [*row.samples, Sample(value, before, after, background)]
            console.print(f"  {row.workload:<6} {row.name:<64} {value:12.3f} {row.unit}")


async def _measured(workload: Workload) -> tuple[float, ...]:
    return await workload.measure()


def _peers(folder: Path | None) -> Peers | None:
    if folder is None:
        return None
    peers = Peers(folder)
    for name, why in peers.skipped.items():
        console.print(f"{name}: skipped, {why} (see {folder}/README.md)")
    return peers


def _measure_peers(peers: Peers, group: str, sizes: Sizes) -> None:
    for peer in peers.installed:
        if problem := peers.measure(peer, group, sizes.sequence):
            console.print(f"  {peer.name} {group}: {problem}")


def _count_syncs(peers: Peers) -> None:
    for peer in peers.installed:
        if problem := peers.count_syncs(peer):
            console.print(f"{peer.name}: syncs not counted, {problem}")


if __name__ == "__main__":
    main()
