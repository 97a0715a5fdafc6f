"""Signals as clients are shown them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from rewake.authoring.signals import Answer
from rewake.kinds import Purpose
from rewake.records import Signal
from rewake.values.sealing import for_people
from rewake.views.moments import moment
from rewake.views.values import Values

SignalState = Literal["sent", "delivered", "refused", "accepted", "rejected"]


class SignalView(msgspec.Struct, frozen=True):
    """A signal to a run.

    `state`: `sent` until more is known of it; `delivered` to the workflow (a list alone says so);
    `refused`, since it did not fit what the workflow waited for; and of an update `accepted` with a
    `result`, or `rejected`. `reason`: why one was refused or rejected. `value`: what it says.
    `waits_for`: of one that was kept just now, and that nobody waits for yet, the names that its
    run waits for instead. `started`: of one to a key, whether its run begins with it.
    """

    id: str
    run: str
    name: str
    state: SignalState
    sent: str
    by: str | UnsetType = UNSET
    value: Raw | UnsetType = UNSET
    result: Any = UNSET
    reason: str | UnsetType = UNSET
    waits_for: list[str] | UnsetType = UNSET
    started: bool | UnsetType = UNSET


def signal_view(
    signal: Signal,
    answer: Answer | None = None,
    *,
    delivered: bool = False,
    values: Values | None = None,
    waits_for: list[str] | None = None,
    started: bool | None = None,
) -> SignalView:
    """A signal with its answer, if there is one; with what it says, given its run's values."""
    state: SignalState = "delivered" if delivered else "sent"
    result: Any = UNSET
    reason: str | UnsetType = UNSET
    if signal.refused:
        state, reason = "refused", for_people(signal.refused)
    elif answer is not None and answer.accepted:
        state, result = "accepted", answer.value
    elif answer is not None:
        state, reason = "rejected", answer.reason
    shown: Raw | UnsetType = UNSET
    if values is not None:
        shown = values.show(signal.value, key=signal.id, purpose=Purpose.SIGNAL)
    return SignalView(
        signal.id,
        signal.run,
        signal.name,
        state,
        moment(signal.at),
        signal.by or UNSET,
        shown,
        result,
        reason,
        UNSET if waits_for is None else waits_for,
        UNSET if started is None else started,
    )
