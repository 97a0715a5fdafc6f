"""`wait_for_approval`: suspend until a person decides."""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import Any

import msgspec

from rewake.authoring.policy import Seconds, millis, seconds
from rewake.errors import CheckpointUnreadable, NotInARun
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Outcome
from rewake.replay.execution import current
from rewake.replay.operation import operation
from rewake.replay.program import Codec


class Decision(StrEnum):
    """How a wait for an approval ended."""

    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"


class Approval(msgspec.Struct, frozen=True):
    """The decision on an approval, its maker, and the form as filled in (JSON data, or None).

    `decision` tells a rejection from a time-out; `approved` is true only of an approval.
    """

    decision: Decision
    value: Any = None
    approver: str | None = None
    comment: str | None = None

    @property
    def approved(self) -> bool:
        """Whether it was approved."""
        return self.decision is Decision.APPROVED


@operation
async def wait_for_approval(
    name: str = "approval",
    /,
    *,
    form: dict[str, Any] | None = None,
    description: str | None = None,
    timeout: Seconds | None = None,
) -> Approval:
    """Suspend until somebody approves or rejects, or `timeout` (seconds, `timedelta`) is over.

        answer = await wait_for_approval(description="Deploy?", timeout=timedelta(days=2))
        if answer.approved: ...

    Several may be open at once and are decided in any order; `name` tells them apart. `form` (a
    JSON Schema, or properties) and `description` are shown to the person. A decision
    that was made before the time was over counts, even if the run observes it later.

    Raises:
        NotInARun: outside a run.
        ValueError: `timeout` is not positive.
    """
    execution = current()
    if execution is None:
        raise NotInARun("wait_for_approval() needs a run; in a test, supply the answer instead")
    if timeout is not None and seconds(timeout) <= 0:
        raise ValueError("timeout must be more than 0")
    shown = {"form": form, "description": description}
    codec = execution.codec
    outcome: Approval = await execution.request(
        Kind.APPROVAL,
        name,
        due=None if timeout is None else execution.machine + millis(timeout),
        args=lambda key: codec.encode(shown, key=key, purpose=Purpose.APPROVAL),
        resolve=functools.partial(_resolve, codec),
    )
    return outcome


def _resolve(codec: Codec, key: str, outcome: Outcome) -> Approval:
    if outcome.kind is OutcomeKind.TIMEOUT:
        return Approval(Decision.TIMED_OUT)
    if outcome.value is None:
        raise CheckpointUnreadable(f"the decision on {key!r} is missing ({outcome.kind})")
    decided = codec.decode(outcome.value, key=key, purpose=Purpose.APPROVAL)
    return msgspec.convert(decided, Approval)
