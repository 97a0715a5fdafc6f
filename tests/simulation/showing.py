"""Parts of programs that show a status and labels, and what must be shown at the end.

`["shows", name, node]` says so before and behind the node, to whose value it comes.
"""

from __future__ import annotations

import random
from typing import Any

from rewake.kinds import Purpose
from rewake.records import Header
from rewake.replay.execution import Execution
from rewake.values.run_codec import RunCodec
from tests.simulation.generate import Drawn
from tests.simulation.world import SECRET

AT = "at"
"""The label that says where a run is."""


def with_shows(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, some parts of which say how far it is."""
    program, right = drawn
    return ["shows", "all", _showing(program, chance)], right


def _showing(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task" | "step" as kind, *rest, str() as name, dict() as plan]:
            made = [kind, *rest, name, plan]
            return ["shows", name, made] if chance.random() < 0.4 else made
        case ["fan", *_]:
            return node
        case list():
            return [_showing(part, chance) for part in node]
        case _:
            return node


def missaid(header: Header, execution: Execution) -> str:
    """What a run shows, and its body has not said last; empty: nothing.

    What was said inside of a block is not said again, nor before a cancellation at the start.
    """
    if execution.blocks.passed or execution.cancels:
        return ""
    shown: Any = {}
    if header.status is not None:
        codec = RunCodec(SECRET, header.run)
        shown = codec.decode(header.status, key="", purpose=Purpose.STATUS)
    said = execution.notes
    if shown != said.shown:
        return f"it shows {shown}, and its body said {said.shown}"
    labels = header.labels or {}
    return "" if labels == said.labels else f"its labels are {labels}, and not {said.labels}"
