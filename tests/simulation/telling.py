"""People who are told of approvals: what they were told, in which order, and that nothing is left.

`tells` returns all that was told so far, so each call says what the calls before it came to.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Completed, Fired, Scheduled, Withdrawn
from rewake.stores.history import History
from rewake.values.codecs import decode
from tests.simulation.generate import Drawn, Err
from tests.simulation.programs import NEVER
from tests.simulation.world import SECRET

_RIGHT = re.compile(
    r"asked( reminder| asked)*( escalated)?( reminder| asked)*( decided| withdrawn)?"
)
"""They are asked once more where a retry forgets that they were told of the end."""
_ENDS = ("decided", "withdrawn")


def with_notices(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, beside or behind approvals of which people are told."""
    program, right = drawn
    for number in range(chance.randint(1, 2)):
        node, value = _told(f"t{number}", chance)
        kind = chance.choice((["seq"], ["gather", False]))
        program = [*kind, node, program]
        right = right if isinstance(right, Err) else [value, right]
    return program, right


def _told(name: str, chance: random.Random) -> Drawn:
    options: dict[str, Any] = {"every": chance.choice((None, 0.4, 1.5, 20))}
    if chance.random() < 0.5:
        options["after"] = chance.choice((0.3, 1, 30))
    match chance.choice(("yes", "yes", "no", "never", "lost")):
        case "yes":
            options["timeout"] = chance.choice((None, NEVER))
            return ["approve_told", f"yes-{name}", options], ["approval", "approved", name]
        case "no":
            return ["approve_told", f"no-{name}", options], ["approval", "rejected", None]
        case "never":
            options["timeout"] = chance.choice((0.7, 3))
            return ["approve_told", f"never-{name}", options], ["approval", "timed_out", None]
    lost = ["race", ["approve_told", f"never-{name}", options], ["nap", chance.choice((20, 2001))]]
    return lost, True


def what_is_wrong(run: str, history: History, *, cancelled: bool) -> Iterator[str]:
    """What people were told, and should not have been, or were not told."""
    under_way: dict[str, str] = {}
    told: dict[str, list[str]] = {}
    given_up: set[str] = set()  # a clock that jumps makes a minute of a moment
    for entry in history.entries:
        scope = getattr(entry, "key", "").rpartition("/")[0]
        match entry:
            case Scheduled(key=key, kind=Kind.TASK, name="tells"):
                if scope in under_way:
                    yield f"{key} was begun beside {under_way[scope]}"
                under_way[scope] = key
            case Completed(key=key) if under_way.get(scope) == key:
                del under_way[scope]
                told[scope] = _result(run, history, key) or told.get(scope, [])
            case Withdrawn(key=key) if under_way.get(scope) == key:
                del under_way[scope]
            case Fired(key=key) if key.endswith("/grace"):
                given_up.add(scope)
    for scope, kinds in told.items():
        if kinds and not _RIGHT.fullmatch(" ".join(kinds)):
            yield f"{scope}: people were told {kinds}"
        excused = cancelled or scope in given_up
        if kinds and not excused and kinds[-1] not in _ENDS:
            yield f"{scope}: people were told {kinds}, and not of the end"


def _result(run: str, history: History, key: str) -> list[str]:
    outcome = history.operations[key].outcome
    if outcome is None or outcome.kind is not OutcomeKind.OK or outcome.value is None:
        return []
    found: list[str] = decode(
        outcome.value, secret=SECRET, run=run, key=key, purpose=Purpose.RESULT, hint=list[str]
    )
    return found
