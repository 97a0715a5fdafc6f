"""Other systems, measured by harnesses that are kept elsewhere (`PEERS=<folder>`), one at a time.

A harness is run where its README says, for one workload and one repetition, between two of ours.
What is not installed under BENCH_HOME is skipped. Whether a peer syncs each step is not taken on
trust either: `fsync_count.sh` of that folder counts it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_LONGEST = 240
"""Seconds that a harness may take for one repetition of one workload."""
_SYNCS = 0.9
"""Syncs a step from which on a peer counts as durable (a sync now and then covers many steps)."""
_SYNCED = {"workload": "settings", "fsync": "on", "synchronous_commit": "on"}
"""What a harness records of a PostgreSQL server that syncs each commit."""
_VALUES = {"W1": "per_step_ms", "W2": "wall_s", "W3": "steps_s", "W4": "p50_ms", "W5": "p50_ms"}
WORKLOADS = tuple(_VALUES)


class Figure(msgspec.Struct):
    """One measurement of a peer, repeated. `kind` says which of ours it is comparable with."""

    peer: str
    workload: str
    mode: str
    kind: str = ""
    values: list[float] = []
    syncs: float | None = None
    synced: bool = False
    """Whether its database says that it syncs each commit, as ours beside it does."""

    @property
    def value(self) -> float:
        """The median."""
        return sorted(self.values)[len(self.values) // 2]

    @property
    def durable(self) -> bool:
        """Whether each step was synced."""
        return self.synced or (self.syncs is not None and self.syncs >= _SYNCS)


@dataclass(frozen=True, slots=True)
class Peer:
    """How to run a harness.

    `inline` has what occurs in `<workload> <mode>` of the modes that run a step in place; in all
    others it is an invocation of its own.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    inline: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = "{home}"


def _python(venv: str, script: str) -> tuple[str, ...]:
    return (f"{{home}}/{venv}/bin/python", f"{{peers}}/{script}")


PEERS = (
    Peer(
        "dbos",
        _python("dbos", "dbos/bench_dbos.py"),
        ("dbos/bin/python",),
        ("inline", "W3 start_workflow", "W4 direct", "W4 start_workflow"),
        {"BENCH_DB": "sqlite"},
    ),
    Peer(
        "restate",
        _python("restate", "restate/bench_restate.py"),
        ("restate/bin/python", "npm_restate/node_modules"),
        ("inline",),
        {"PROTO": "bidi"},
    ),
    Peer(
        "temporal",
        _python("temporal", "temporal/bench_temporal.py"),
        ("temporal/bin/python",),
        ("local activity",),
    ),
    Peer(
        "prefect",
        _python("prefect", "prefect/bench_prefect.py"),
        ("prefect/bin/python",),
        ("inline", "async", "flow with"),
    ),
    Peer(
        "aws-durable",
        _python("aws", "aws_durable/bench_aws.py"),
        ("aws/bin/python",),
        ("context.step", "context.map", "inline"),
        {"STORE": "memory"},
    ),
    Peer(
        "cloudflare",
        ("node", "{peers}/cloudflare/bench_cf.mjs"),
        ("npm_cf/node_modules/miniflare",),
        ("step",),
        folder="{home}/npm_cf",
    ),
    Peer(
        "vercel",
        ("node", "bench_vercel.mjs"),
        ("npm_vw/node_modules", "npm_vw/.output", "npm_vw/bench_vercel.mjs"),
        (),
        folder="{home}/npm_vw",
    ),
    Peer(
        "duroxide",
        _python("duroxide", "duroxide/bench_duroxide.py"),
        ("duroxide/bin/python",),
        (),
        {"BENCH_SEQ_MAX": "1000"},
    ),
)


class Peers:
    """The harnesses in `folder`. `skipped` says why some cannot be run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._home = os.environ.get("BENCH_HOME", "")
        self._figures: dict[tuple[str, str, str], Figure] = {}
        self._broken: set[tuple[str, str]] = set()
        self.skipped = {peer.name: why for peer in PEERS if (why := self._missing(peer))}

    @property
    def installed(self) -> list[Peer]:
        """Those that can be run."""
        return [peer for peer in PEERS if peer.name not in self.skipped]

    def figures(self) -> list[Figure]:
        """All that was measured so far."""
        return list(self._figures.values())

    def measure(self, peer: Peer, workload: str, count: int) -> str:
        """One repetition of one workload; what went wrong, or an empty string."""
        if (peer.name, workload) in self._broken:
            return ""
        knobs = {"BENCH_SEQ": str(count), "BENCH_FAN": str(count), "BENCH_QUIET_BUDGET": "0"}
        given = {"BENCH_ONLY": workload, "BENCH_REPS": "1", **knobs}
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "records.jsonl"
            problem = self._run(peer, {**given, "BENCH_OUT": str(out)})
            self._take(peer, _records(out))
        if problem:
            self._broken.add((peer.name, workload))
        return problem

    def count_syncs(self, peer: Peer) -> str:
        """Count the syncs a step of each kind; why that was not possible, or an empty string."""
        script = self._folder / "fsync_count.sh"
        if shutil.which("strace") is None or not script.exists():
            return "there is no strace or no fsync_count.sh"
        command = ["bash", str(script), peer.name, *self._command(peer)]
        printed = _output(command, self._where(peer), self._env(peer, {}))
        found = [each for line in printed.splitlines() if (each := _Counted.decoded(line))]
        self._mark(peer, [each for each in found if not each.first_record_includes_startup])
        return "" if printed else "fsync_count.sh printed nothing"

    # --- inside ----------------------------------------------------------------------------

    def _missing(self, peer: Peer) -> str:
        if not self._home:
            return "BENCH_HOME is not set"
        missing = [each for each in peer.needs if not (Path(self._home) / each).exists()]
        if peer.command[0] == "node" and shutil.which("node") is None:
            missing.append("node")
        return f"there is no {', '.join(missing)} in {self._home}" if missing else ""

    def _command(self, peer: Peer) -> list[str]:
        return [self._filled(part) for part in peer.command]

    def _where(self, peer: Peer) -> str:
        return self._filled(peer.folder)

    def _filled(self, text: str) -> str:
        return text.format(home=self._home, peers=self._folder)

    def _env(self, peer: Peer, more: Mapping[str, str]) -> dict[str, str]:
        ours = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        # Which database a peer has, a store says that is measured on the same server.
        return {"PYTHONDONTWRITEBYTECODE": "1", **peer.env, **ours, **more}

    def _run(self, peer: Peer, given: Mapping[str, str]) -> str:
        """Run a harness to its end, and stop all that it started if that takes too long."""
        process = subprocess.Popen(
            self._command(peer),
            cwd=self._where(peer),
            env=self._env(peer, given),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, errors = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)
            return f"stopped after {_LONGEST} s"
        lines = errors.strip().splitlines() or ["no reason given"]
        return f"exit {process.returncode}: {lines[-1][:120]}" if process.returncode else ""

    def _take(self, peer: Peer, records: Sequence[Mapping[str, object]]) -> None:
        synced = any(record.items() >= _SYNCED.items() for record in records)
        for record in records:
            workload, mode = str(record.get("workload")), str(record.get("mode"))
            value = record.get(_VALUES.get(workload, ""))
            if isinstance(value, int | float) and not mode.startswith("no step"):
                found = Figure(peer.name, workload, mode)
                found.kind, found.synced = _kind(peer, found), synced
                found = self._figures.setdefault((peer.name, workload, mode), found)
                found.values = [*found.values, value]

    def _mark(self, peer: Peer, counted: Sequence[_Counted]) -> None:
        """Give each figure the syncs of its own mode, or else the fewest of its kind."""
        for figure in self._figures.values():
            alike = [each for each in counted if figure.kind in (_kind(peer, each), "sleep")]
            own = [each for each in alike if each.mode == figure.mode] or alike
            if figure.peer == peer.name and own:
                figure.syncs = min(each.a_step for each in own)


class _Counted(msgspec.Struct):
    """A line of `fsync_count.sh`."""

    mode: str
    n: int
    syncs: dict[str, int]
    first_record_includes_startup: bool = False

    @property
    def a_step(self) -> float:
        return sum(self.syncs.values()) / self.n

    @classmethod
    def decoded(cls, line: str) -> _Counted | None:
        try:
            return msgspec.json.decode(line, type=cls)
        except msgspec.MsgspecError:
            return None


def _kind(peer: Peer, found: Figure | _Counted) -> str:
    """Which of our own measurements it is like."""
    workload = found.workload if isinstance(found, Figure) else "W1"
    if workload == "W5":
        return "sleep"
    named = f"{workload} {found.mode}"
    return "inline" if any(words in named for words in peer.inline) else "task"


def _records(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    return [msgspec.json.decode(line) for line in path.read_text().splitlines() if line]


def _output(command: list[str], folder: str, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=False
    )
    return done.stdout
