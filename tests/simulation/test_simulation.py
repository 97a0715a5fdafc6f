"""Whatever goes wrong, every run ends as it would have: thousands of seeds, on each table."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from rewake.stores.postgres.flight import Flight
from rewake.testing.loop import VirtualLoop
from tests.simulation import programs
from tests.simulation.case import case_of
from tests.simulation.faults import POSTGRES
from tests.simulation.generate import Err, strip
from tests.simulation.mutants import Mutant
from tests.simulation.programs import main, told
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.simulate import DYNAMODB, SEALED, run_seed, simulate
from tests.simulation.tally import BASIC, STORES, Tally
from tests.simulation.witnesses import ALL_MUTANTS, noticing, witness_of
from tests.support.sampling import sampled

SEEDS = 1_000
ON_POSTGRES = 500
"""How many of them are simulated on PostgreSQL too, which takes longer."""
SHARD = 50
SHARDS = range(SEEDS // SHARD)
ON_DYNAMODB = range(10)
LEAST = 20
NEEDS_A_RUN = (
    *("approve", "edge", "call", "several", "respond", "emit"),
    *("hear", "publish", "tells", "child", "kin", "laps", "block'"),
)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tallies of this test session are, for all of its workers."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    path = tmp_path_factory.getbasetemp().parent / f"simulation-{session}"
    path.mkdir(exist_ok=True)
    return path


def tally_of(shard: int, folder: Path) -> Tally:
    """The tally of one shard, by whichever worker made it."""
    done, begun = folder / f"{shard}.json", folder / f"{shard}.begun"
    try:
        begun.touch(exist_ok=False)
    except FileExistsError:
        while not done.exists():  # another worker is at it
            time.sleep(0.1)
        return Tally.load(done)
    seeds = range(shard * SHARD, (shard + 1) * SHARD)
    tally = Tally().run(seeds, STORES if seeds[-1] < ON_POSTGRES else BASIC)
    tally.save(done)
    return tally


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", sampled(SHARDS, every=len(SHARDS)))
def test_every_run_ends_as_it_would_have(shard: int, folder: Path) -> None:
    """Crashes, lost calls, lost messages, stalls and wrong clocks change no result."""
    assert tally_of(shard, folder).broken == []


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_fault_of_every_call_happens(folder: Path) -> None:
    """The seeds above cover every pair of a call and a fault, many times over."""
    total = Tally()
    for shard in SHARDS:
        total.add(tally_of(shard, folder))
    table = total.table()
    (folder / "table.txt").write_text(table)
    sys.stdout.write(f"\n{table}\n")
    assert total.seldom(LEAST) == []
    further = ON_POSTGRES * (len(STORES) - len(BASIC))
    assert total.simulations == SEEDS * len(BASIC) + further


def named(case: tuple[str, str]) -> str:
    """A scenario and its table, as pytest names them."""
    return "-".join(case)


ON_MEMORY = [(scenario, STORES[0]) for scenario in SCENARIOS]
ELSEWHERE = [(scenario, store) for scenario in SCENARIOS for store in STORES[1:]]


@pytest.mark.parametrize("case", [*ON_MEMORY, *sampled(ELSEWHERE, every=5, long=4)], ids=named)
def test_scenarios(case: tuple[str, str], whole: bool) -> None:
    """What random faults would seldom bring about ends as it should, too."""
    scenario, store = case
    few = 2 if store == POSTGRES else 3
    for seed in range(20 if whole else few):
        assert simulate(SCENARIOS[scenario](seed, store)).broken == [], seed


@pytest.mark.skipif(POSTGRES not in STORES, reason="no PostgreSQL server is installed")
def test_a_write_that_tests_nothing_is_noticed() -> None:
    """If PostgreSQL were written without a look at what is there, this would be seen at once."""
    with patch.object(Flight, "_base", lambda *_: None):
        assert any(run_seed(seed, POSTGRES).broken for seed in (1, 3, 4, 6))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", sampled(ON_DYNAMODB, every=len(ON_DYNAMODB)))
def test_on_dynamodb_it_is_the_same(shard: int) -> None:
    """The requests that a server sends, evaluated here: throttled, in conflict, lost, and late."""
    seeds = range(730_000 + shard * SHARD, 730_000 + (shard + 1) * SHARD)
    assert Tally().run(seeds, [DYNAMODB]).broken == []


@pytest.mark.parametrize("scenario", sampled(SCENARIOS, every=5, long=4))
def test_scenarios_on_dynamodb(scenario: str, whole: bool) -> None:
    """What random faults would seldom bring about ends as it should, there too."""
    for seed in range(20 if whole else 2):
        assert simulate(SCENARIOS[scenario](seed, DYNAMODB)).broken == [], seed


def test_behind_a_codec_it_is_the_same() -> None:
    """Behind a codec that is away now and then every run ends as it would have, too."""
    for seed in range(720_000, 720_060):
        assert simulate(case_of(seed, SEALED)).broken == [], seed


@pytest.mark.parametrize("store", STORES)
def test_without_faults_it_is_the_same(store: str) -> None:
    """When nothing goes wrong every program comes to its right result, at the first attempt."""
    for seed in range(30 if store == POSTGRES else 100):
        verdict = simulate(case_of(seed, store, faults=False))
        assert verdict.broken == [], seed
        assert verdict.crashes == 0


def test_plain_python_comes_to_the_same() -> None:
    """Outside the runtime, on asyncio alone, a program comes to the result that a run has."""
    tried = 0
    for seed in range(800):
        for program, right in case_of(seed, "memory").programs.values():
            if any(f"'{kind}" in str(program) for kind in NEEDS_A_RUN) or right == Err("timeout"):
                continue  # that takes a run
            tried += 1
            assert plainly(program) == right, seed
    assert tried > 100


def plainly(program: list[Any]) -> Any:
    """What the program comes to as plain asyncio code, in virtual time."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        with patch.object(programs, "now", lambda: datetime.fromtimestamp(loop.time(), UTC)):
            return strip(loop.run_until_complete(main(program)))
    except Exception as error:
        return Err(told(error))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_a_seed_replays_exactly() -> None:
    """The same seed gives the same trace, also in another process that hashes differently."""
    seeds = (3, 17, 41)
    here = [run_seed(seed, store).digest for seed in seeds for store in STORES]
    assert here == [run_seed(seed, store).digest for seed in seeds for store in STORES]
    there: list[str] = []
    for seed in seeds:
        shown = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": f"runtime{os.pathsep}."},
            capture_output=True,
            text=True,
            check=True,
        )
        there += [line.rpartition(" ")[2] for line in shown.stdout.splitlines()]
    assert there == here


@pytest.mark.timeout(3600)  # from nothing, and beside others, some take a quarter of an hour
@pytest.mark.parametrize(
    "mutant", sampled(ALL_MUTANTS, every=10), ids=lambda mutant: mutant.__name__
)
def test_the_simulation_notices(mutant: Mutant, whole: bool) -> None:
    """A protocol without one of its promises is caught within the seeds and scenarios above.

    The one that is known to catch it comes first, unless the whole is asked for.
    """
    known = None if whole else witness_of(mutant)
    assert noticing(mutant, first=known) is not None
