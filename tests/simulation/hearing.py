"""Events: parts of programs that publish some, and parts that hear them, drawn apart.

`["tells", name, count, options]` publishes so many events, one after the other, and
`["hears", name, count, options]` waits until it has heard as many. Whatever happens on the way, it
hears each of them, and none twice. Their order is that of the clocks of who published them, so
only which they are is looked at.
"""

from __future__ import annotations

import random
from typing import Any

from tests.simulation.generate import Drawn, Err


def with_events(run: str, drawn: Drawn, chance: random.Random) -> Drawn:
    """The program of a run, beside or behind parts that tell each other something."""
    program, right = drawn
    for number in range(chance.randint(1, 2)):
        node, value = told_and_heard(f"{run}-{number}", chance)
        kind = chance.choice((["seq"], ["gather", False]))
        program = [*kind, node, program]
        right = right if isinstance(right, Err) else [value, right]
    return program, right


def told_and_heard(name: str, chance: random.Random) -> Drawn:
    """A part that publishes some events, and one that hears them: before, meanwhile or after."""
    count = chance.choice((1, 1, 2, 4))
    tells = ["tells", name, count, {"pause": chance.choice((None, 1, 300, 2500))}]
    options: dict[str, Any] = {"pause": chance.choice((None, None, 20, 2000))}
    options["timeout"] = chance.choice((None, None, 0.4, 3))
    hears = ["hears", name, count, options]
    heard = ["heard", name, list(range(count))]
    match chance.choice(("before", "meanwhile", "meanwhile", "twice")):
        case "before":
            return ["seq", tells, hears], [["told", name], heard]
        case "twice":  # both are open as it comes: later ones would have what the other had not
            hears = ["hears", name, 1, {"pause": None, "timeout": None}]
            node = ["gather", False, hears, hears, ["tells", name, 1, tells[3]]]
            return node, [["heard", name, [0]], ["heard", name, [0]], ["told", name]]
    return ["gather", False, hears, tells], [heard, ["told", name]]
