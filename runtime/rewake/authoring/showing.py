"""`set_status`, `set_progress`, `set_labels`: what a body says of its run to whoever looks at it.

They are plain calls without a write of their own: the commit that comes next takes it along.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from rewake.authoring.context import current_context
from rewake.errors import InvalidInput, NotInARun
from rewake.labels import checked
from rewake.replay.execution import Execution, current
from rewake.values.emitted import json_of

LARGEST_STATUS = 512
"""The most bytes of a status as JSON."""


def set_status(value: Any) -> None:
    """Show a status of the run, until another is set: in `GET` of the run, lists and pages.

        set_status("waiting for the bank")
        set_status({"phase": "billing", "orders": 12})

    `value` is JSON, of at most 512 bytes. Outside a run it is only checked.

    Raises `InvalidInput` for another value, and `NotInARun` in a task or a step.
    """
    text = json_of(value, "a status", LARGEST_STATUS)
    execution = _execution("set_status")
    if execution is not None:
        copied = msgspec.json.decode(text)
        execution.notes.show("status", copied, new=not execution.replaying)


def set_progress(done: float, total: float | None = None) -> None:
    """Show how far the run is: so much of `total`, or so much of nobody knows what.

        set_progress(30, 120)

    Raises `InvalidInput` for numbers that are negative or not finite, and as `set_status` does.
    """
    for name, number in (("done", done), ("total", total)):
        good = type(number) in (int, float) and math.isfinite(number) and 0 <= number < 2**63  # type: ignore[arg-type, operator]
        if not good and (name, number) != ("total", None):
            raise InvalidInput(f"{name} is a number from 0 on, and not {number!r}", field=name)
    execution = _execution("set_progress")
    if execution is not None:
        progress = {"done": done} if total is None else {"done": done, "total": total}
        execution.notes.show("progress", progress, new=not execution.replaying)


def set_labels(**labels: str | None) -> None:
    """Give the run labels, by which it is found; None removes one. Others stay.

        set_labels(customer="c1", stage="billing")

    A name has at most 40 characters (A-Z, a-z, 0-9, `_`), a value is one line of at most 100
    without commas. A run has at most 8, of 256 bytes together. They are not encrypted.

    Raises `InvalidInput`, and `NotInARun` in a task or a step.
    """
    execution = _execution("set_labels")
    before = {} if execution is None else execution.notes.labels
    wanted = {**before, **labels}
    after = checked({name: value for name, value in wanted.items() if value is not None})
    if execution is not None:
        execution.notes.label(after, new=not execution.replaying)


def _execution(call: str) -> Execution | None:
    execution = current()
    if execution is None and current_context() is not None:
        raise NotInARun(f"{call}() is for the body of a workflow, not for a task or a step")
    return None if execution is None or execution.loop.dead else execution
