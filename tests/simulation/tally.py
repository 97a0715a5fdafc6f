"""Many simulations: what happened in all of them together, as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation import scheduling
from tests.simulation.costs import told
from tests.simulation.faults import (
    CALL_FAULTS,
    CALLS,
    ITEMS,
    MESSAGE_FAULTS,
    PEOPLE,
    POSTGRES,
    PROCESS_FAULTS,
    kinds_of,
)
from tests.simulation.happenings import PRIMITIVES, UNDER_FAULTS
from tests.simulation.scheduling import SCHEDULES, USES
from tests.simulation.simulate import run_seed
from tests.support.postgres import binaries

BASIC = ("memory", "sqlite")
STORES = BASIC if binaries() is None else (*BASIC, POSTGRES)
"""The tables: PostgreSQL, where a server of it is installed."""
BESIDE_CALLS = {"message": MESSAGE_FAULTS, "process": PROCESS_FAULTS, "people": PEOPLE}
BESIDE_CALLS |= dict.fromkeys(ITEMS.values(), CALL_FAULTS)
BESIDE_CALLS |= {UNDER_FAULTS: PRIMITIVES, SCHEDULES: USES}
SELDOM = 10
"""Of so many seeds one has a schedule, which is simulated by itself."""


@dataclass
class Tally:
    """How many simulations, which faults, how the runs ended, and what broke, by seed and store."""

    simulations: int = 0
    fired: Counter[tuple[str, str]] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    hours: float = 0.0
    broken: list[tuple[int, str, str]] = field(default_factory=list)

    def run(self, seeds: Iterable[int], stores: Sequence[str] = STORES) -> Tally:
        """Simulate each seed on each store."""
        for seed in seeds:
            if seed % SELDOM == 0 and stores[0] == BASIC[0]:
                broken, used = scheduling.played(seed)
                self.fired += used
                self.broken += [(seed, SCHEDULES, each) for each in broken[:1]]
            for store in stores:
                verdict = run_seed(seed, store)
                self.simulations += 1
                self.fired += verdict.fired
                self.states.update(str(state) for state in verdict.states.values())
                self.units += verdict.units
                self.crashes += verdict.crashes
                self.hours += verdict.seconds / 3600
                if verdict.broken:
                    self.broken.append((seed, store, verdict.broken[0]))
        return self

    def add(self, other: Tally) -> None:
        """Count another tally's simulations too."""
        self.simulations += other.simulations
        self.fired += other.fired
        self.states += other.states
        self.units += other.units
        self.crashes += other.crashes
        self.hours += other.hours
        self.broken += other.broken

    def seldom(self, least: int) -> list[tuple[str, str]]:
        """The faults that fired less often than this."""
        return [each for each in every_fault() if self.fired[each] < least]

    def table(self) -> str:
        """What went wrong how often, for people."""
        columns = ("before", "told-failed", "crash-before", "crash-after", "stall")
        lines = ["call         " + "".join(f"{column:>13}" for column in columns)]
        for call in CALLS:
            counts = [str(self.fired[call, c]) if c in kinds_of(call) else "-" for c in columns]
            lines.append(f"{call:13}" + "".join(f"{count:>13}" for count in counts))
        for what, kinds in BESIDE_CALLS.items():
            lines.append(f"{what}: " + ", ".join(f"{self.fired[what, k]} {k}" for k in kinds))
        lines.append(told(self.units))
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        lines.append(
            f"{self.simulations} simulations, {self.hours:.1f} virtual hours, "
            f"{self.crashes} processes died; runs: {states}; broken: {len(self.broken)}"
        )
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write it to a file, all at once."""
        fired = [[*key, count] for key, count in self.fired.items()]
        state = vars(self) | {"fired": fired}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(state))
        part.rename(path)

    @staticmethod
    def load(path: Path) -> Tally:
        """Read it again."""
        state = json.loads(path.read_text())
        state["fired"] = Counter({(call, fault): n for call, fault, n in state["fired"]})
        state["states"] = Counter(state["states"])
        state["units"] = Counter(state["units"])
        state["broken"] = [tuple(each) for each in state["broken"]]
        return Tally(**state)


def tally_of(part: tuple[range, Sequence[str]]) -> Tally:
    """The tally of these seeds on these stores."""
    return Tally().run(*part)


def every_fault() -> list[tuple[str, str]]:
    """Every call with every fault that it can have, and all that happens beside calls."""
    calls = [(call, kind) for call in CALLS for kind in kinds_of(call)]
    return calls + [(what, kind) for what, kinds in BESIDE_CALLS.items() for kind in kinds]
