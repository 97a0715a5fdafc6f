"""Which simulation notices which mutant: looked for once, and written down in `witnesses.json`.

A witness is only where to look first. It ages with each change of the generator or the runtime;
then the mutant is looked for as if nothing were known, and `python -m tests.simulation --witnesses`
writes down anew who is found.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.simulation.case import Case, case_of
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.mutants_answering import ANSWERING
from tests.simulation.mutants_beating import BEATING
from tests.simulation.mutants_beside import BESIDE
from tests.simulation.mutants_calling import CALLING
from tests.simulation.mutants_circling import CIRCLING
from tests.simulation.mutants_counting import COUNTING
from tests.simulation.mutants_following import FOLLOWING
from tests.simulation.mutants_grouping import GROUPING
from tests.simulation.mutants_hearing import HEARING
from tests.simulation.mutants_holding import HOLDING
from tests.simulation.mutants_kindred import KINDRED
from tests.simulation.mutants_lapping import LAPPING
from tests.simulation.mutants_limiting import LIMITING
from tests.simulation.mutants_linking import LINKING
from tests.simulation.mutants_pausing import PAUSING
from tests.simulation.mutants_removing import REMOVING
from tests.simulation.mutants_retrying import RETRYING
from tests.simulation.mutants_signalling import SIGNALLING
from tests.simulation.mutants_starting import STARTING
from tests.simulation.mutants_tagging import TAGGING
from tests.simulation.mutants_telling import TELLING
from tests.simulation.mutants_voting import VOTING
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.simulate import simulate
from tests.simulation.tally import BASIC

SEEDS = 2_000
"""How many seeds a mutant is looked for in."""
ALL_MUTANTS: tuple[Mutant, ...] = (
    *MUTANTS,
    *ANSWERING,
    *BEATING,
    *BESIDE,
    *CALLING,
    *CIRCLING,
    *COUNTING,
    *FOLLOWING,
    *GROUPING,
    *HEARING,
    *HOLDING,
    *KINDRED,
    *LAPPING,
    *LIMITING,
    *LINKING,
    *PAUSING,
    *REMOVING,
    *RETRYING,
    *SIGNALLING,
    *STARTING,
    *TAGGING,
    *TELLING,
    *VOTING,
)
FILE = Path(__file__).with_name("witnesses.json")


class Witness(NamedTuple):
    """A simulation: of a scenario, or where that is empty of the generator."""

    scenario: str
    seed: int
    store: str

    @property
    def case(self) -> Case:
        """What is simulated."""
        make = SCENARIOS.get(self.scenario, case_of)
        return make(self.seed, self.store)


def noticing(mutant: Mutant, *, first: Witness | None = None) -> Witness | None:
    """The first simulation that this mutant breaks; None if it breaks none."""
    with mutant():
        for each in itertools.chain([first] if first else [], everyone()):
            if simulate(each.case).broken:
                return each
    return None


def everyone() -> Iterator[Witness]:
    """The scenarios and the seeds, in turn: some mutants show only in the one, or in the other."""
    seeds = (Witness("", *each) for each in itertools.product(range(SEEDS), BASIC))
    for number in range(20):
        for scenario, store in itertools.product(SCENARIOS, BASIC):
            yield Witness(scenario, number, store)
        yield from itertools.islice(seeds, 30)
    yield from seeds


def witness_of(mutant: Mutant) -> Witness | None:
    """The simulation that was seen to notice it last time, if there is one still."""
    found = json.loads(FILE.read_text()).get(mutant.__name__)
    witness = Witness(*found) if found else None
    return witness if witness and witness.scenario in {"", *SCENARIOS} else None


def look_for(number: int) -> Witness | None:
    """Who notices the mutant of this number, for a pool of processes."""
    mutant = ALL_MUTANTS[number]
    return noticing(mutant, first=witness_of(mutant))


def write(found: dict[str, Witness]) -> None:
    """Keep who noticed, in the order of names."""
    lines = (f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in sorted(found.items()))
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
