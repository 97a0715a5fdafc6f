"""A newer Python strands nothing: keys and order are the same on every minor."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.replay.corpus import ORDERS, PROGRAMS, RECORDED, driven

recorded = json.loads(RECORDED.read_text())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_keys_and_order_are_those_on_record(program: Any) -> None:
    """What each program asks for, and when, in many orders of completions, racing ones too."""
    for order in range(ORDERS):
        assert driven(program, order) == recorded[f"{program.__name__} {order}"]
