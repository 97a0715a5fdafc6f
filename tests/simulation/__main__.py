"""Simulate from the command line: many seeds, or one again with all that happened in it."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time

from tests.simulation.case import case_of
from tests.simulation.scheduling import SCHEDULES, played
from tests.simulation.simulate import DYNAMODB, SEALED, simulate
from tests.simulation.tally import STORES, Tally, tally_of
from tests.simulation.witnesses import ALL_MUTANTS, look_for, write

SLICE = 50


def main() -> int:
    """Parse the arguments, and do it; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--workers", type=int, default=2, help="how many processes simulate")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument(
        "--store",
        choices=(*STORES, SEALED, DYNAMODB, SCHEDULES),
        help="only on this table (sealed: with a codec; dynamodb: on a small one of that), or "
        "with --seed only the schedule",
    )
    parser.add_argument("--trace", action="store_true", help="with --seed: all that happened")
    parser.add_argument(
        "--witnesses", action="store_true", help="look for who notices each mutant, and keep it"
    )
    given = parser.parse_args()
    if given.witnesses:
        return _witnesses(given.workers)
    stores = (given.store,) if given.store else STORES
    if given.seed is not None:
        return _one(given.seed, stores, trace=given.trace)
    return _many(range(given.first, given.first + given.seeds), stores, given.workers)


def _one(seed: int, stores: tuple[str, ...], *, trace: bool) -> int:
    broken = False
    if stores == (SCHEDULES,):
        wrong, used = played(seed)
        _say(f"schedule {seed}: {dict(used)}; broken: {wrong}")
        return int(bool(wrong))
    for store in stores:
        case = case_of(seed, store)
        verdict = simulate(case)
        broken = broken or bool(verdict.broken)
        if trace:
            _say(f"{case}\n" + "\n".join(verdict.trace))
        ends = ", ".join(f"{run} {state}" for run, state in verdict.states.items())
        _say(f"seed {seed} on {store}: {ends}; digest {verdict.digest}")
        for promise in verdict.broken:
            _say(f"BROKEN {promise}")
    return int(broken)


def _many(seeds: range, stores: tuple[str, ...], workers: int) -> int:
    total, began, shown = Tally(), time.monotonic(), 0.0
    slices = [(seeds[at : at + SLICE], stores) for at in range(0, len(seeds), SLICE)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for tally in pool.imap_unordered(tally_of, slices):
            total.add(tally)
            for seed, store, promise in tally.broken:
                again = f"python -m tests.simulation --seed {seed} --store '{store}' --trace"
                _say(f"BROKEN: {promise}\n  {again}")
            elapsed = time.monotonic() - began
            if elapsed - shown > 10:
                shown = elapsed
                _say(f"{total.simulations} simulations in {elapsed:.0f} s")
    _say(f"{total.table()}\nin {time.monotonic() - began:.0f} s")
    return int(bool(total.broken))


def _witnesses(workers: int) -> int:
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        seen = pool.map(look_for, range(len(ALL_MUTANTS)), chunksize=1)
    found = dict(zip((mutant.__name__ for mutant in ALL_MUTANTS), seen, strict=True))
    write({name: witness for name, witness in found.items() if witness})
    for name in (name for name, witness in found.items() if witness is None):
        _say(f"nobody notices {name}")
    return int(None in seen)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
