"""What was measured, as tables for people and as JSON for later."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Column, Table

from tests.bench import machine
from tests.bench.measure import COMMIT, Goal, Row, Scale
from tests.bench.peers import Figure

console = Console(width=140, highlight=False)


class Report(msgspec.Struct):
    """One run of the benchmarks."""

    began: str
    facts: machine.Facts
    floor: dict[str, float]
    store: str = "sqlite"
    load_after: float = 0.0
    rows: list[Row] = []
    peers: list[Figure] = []


def save(report: Report) -> Path:
    """Write the report to a file of its own."""
    path = machine.folder() / f"report-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2))
    return path


def show_machine(report: Report) -> None:
    """The facts, and the floor before anything was measured."""
    facts = report.facts
    console.print(
        f"{facts.cpu}, {facts.cores} cores, {facts.memory_gib} GiB; Linux {facts.kernel}, "
        f"{facts.filesystem}; Python {facts.python}, SQLite {facts.sqlite}; load {facts.load}"
    )
    console.print(f"  measured on {report.store.partition('://')[0]}")
    for name, value in report.floor.items():
        console.print(f"  {name:<52} {value:9.3f} ms")


def show_rows(rows: Sequence[Row]) -> None:
    """Every row with its goal, and how many commits of the same minute it amounts to."""
    table = Table(
        Column("", no_wrap=True),
        "measured",
        "goal",
        "",
        "of all samples",
        "commits",
        "others' CPU",
        box=None,
    )
    for row in rows:
        if row.samples:
            table.add_row(f"{row.workload:<6} {row.name}", *_cells(row))
    console.print(table)
    console.print(
        f"[dim]Medians. 'commits': the value in WAL FULL commits, measured before and after each "
        f"sample. Goals that depend on the disk were set for a commit of {COMMIT} ms and are "
        f"scaled to a slower one. 'others' CPU': the share of all cores in use before the worst "
        f"sample. '?': others were busy or the disk changed its pace, so measure again.[/dim]"
    )


def _cells(row: Row) -> tuple[str, ...]:
    values = [sample.value for sample in row.samples]
    return (
        _number(row.value, row.unit),
        _goal(row.goal, row),
        _verdict(row),
        f"{_number(min(values))} - {_number(max(values))}" if len(values) > 1 else "",
        _commits(row),
        f"{row.background:.0%}",
    )


def _goal(goal: Goal | None, row: Row) -> str:
    if goal is None:
        return ""
    scaled = f", {goal.limit:g} commits" if goal.scale is Scale.COMMITS else ""
    sign = ">=" if goal.least else "<="
    return f"{sign} {_number(goal.bound(row.commit), row.unit)}{scaled}"


def _verdict(row: Row) -> str:
    if row.goal is None:
        return ""
    verdict = "[green]met[/green]" if row.goal.met(row.value, row.commit) else "[red]missed[/red]"
    return verdict if row.steady else f"{verdict} ?"


def _commits(row: Row) -> str:
    in_ms = {"ms": 1.0, "s": 1000.0}.get(row.unit)
    return f"{row.value * in_ms / row.commit:.1f}" if in_ms else ""


def _number(value: float, unit: str = "") -> str:
    digits = 0 if abs(value) >= 100 else 2 if abs(value) >= 1 or not value else 3
    return f"{value:,.{digits}f} {unit}".rstrip()


def show_peers(rows: Sequence[Row], figures: Sequence[Figure]) -> None:
    """Beside each of our rows that a peer has too: theirs, and the ratio if theirs is durable."""
    table = Table("", "peer", "mode", "theirs", "ours", "ratio", "syncs a step", box=None)
    for row in rows:
        for figure in _alike(row, figures):
            table.add_row(f"{row.workload} {row.kind}", *_compared(row, figure))
    console.print(table)
    console.print(
        "[dim]ratio: how many times ours is better. None where theirs does not sync every step to "
        "the disk (or where that could not be counted).[/dim]"
    )


def _alike(row: Row, figures: Sequence[Figure]) -> Iterable[Figure]:
    return [each for each in figures if (each.workload, each.kind) == (row.workload, row.kind)]


def _compared(row: Row, figure: Figure) -> tuple[str, ...]:
    theirs, ours = figure.value, row.value
    better = ours / theirs if row.unit == "/s" else theirs / ours
    unknown = "by its server" if figure.synced else "unknown"
    syncs = unknown if figure.syncs is None else f"{figure.syncs:.1f}"
    return (
        figure.peer,
        figure.mode,
        _number(theirs, row.unit),
        _number(ours, row.unit),
        f"{better:.1f} x" if figure.durable else "not durable",
        syncs,
    )
