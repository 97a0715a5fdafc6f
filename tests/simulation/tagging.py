"""Programs whose tasks have tags, and processes that serve some of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rewake.tags import Served, served
from tests.simulation.generate import Drawn

TAG = "gpu"
UNTAGGED, TAGGED, BOTH = Served(), served([TAG]), served(["default", TAG])
ROLES: Sequence[tuple[Served, ...]] = (
    (UNTAGGED, TAGGED),
    (UNTAGGED, TAGGED, BOTH),
    (UNTAGGED, UNTAGGED, TAGGED, TAGGED),
    (BOTH, TAGGED),
    (BOTH, BOTH),
)
"""What the processes of a simulation serve, one after the other; so do those that replace them."""
_KINDS = ("work", "retried", "timed", "closure")


def with_tags(whole: Drawn, chance: random.Random) -> Drawn:
    """A program in which some tasks have a tag."""
    program, right = whole
    return _tagged(program, chance), right


def _tagged(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", str() as kind, str() as name, dict() as plan] if kind in _KINDS:
            tag = {"tag": TAG} if chance.random() < 0.6 else {}
            return ["task", kind, name, {**plan, **tag}]
        case list():
            return [_tagged(part, chance) for part in node]
        case _:
            return node
