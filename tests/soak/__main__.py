"""`python -m tests.soak`: two servers, load and harm for some minutes, then the judgement."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.soak.harms import KINDS, Servers
from tests.soak.judge import faults
from tests.soak.load import Load
from tests.soak.notes import read


def main() -> int:
    """Soak, and say how it went; the exit status."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="rewake-soak-"))
    harms = frozenset(options.harm or KINDS)
    _say(f"in {folder}, seed {options.seed}, {options.minutes:g} minutes of {', '.join(harms)}")
    began = time.monotonic()
    with Servers(folder, options.seed, harms) as servers:
        load = Load(servers, options.seed)
        load.carry_on(options.minutes * 60)
        servers.relent()
        still = load.end()
        wrong = [*servers.faults, *faults(load.ended, read(folder), servers.harms)]
        wrong += [f"{run} does not end" for run in still]
        if wrong:
            (folder / "logs").write_text(servers.logs())
    for line in wrong:
        _say(f"WRONG: {line}")
    for kind, pid, start, end in servers.harms if wrong else ():
        _say(f"  harm: {kind} of {pid or 'all'}, {start:.3f} to {end:.3f}")
    begun = sum(note.what == "begun" for said in read(folder).values() for note in said)
    states = Counter(run.state for run in load.ended)
    _say(f"harms: {_told(Counter(harm.kind for harm in servers.harms))}")
    _say(f"runs: {_told(states)}; {begun} bodies begun, {len(read(folder))} operations")
    _say(f"{len(wrong)} wrong, in {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--harm", action="append", choices=KINDS, help="only these")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
