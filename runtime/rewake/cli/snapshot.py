"""How the operations of a run in this process stand, without their values."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw

from rewake.http.timeline import OperationView, timeline
from rewake.http.views import Values, moment
from rewake.records import Kind, Millis, Value
from rewake.secret import Secret
from rewake.stores.results import History


class _NoValues(Values):
    """Values that nobody looks at are not unpickled."""

    def show(self, value: Value, *, key: str, purpose: str) -> Raw:  # noqa: ARG002
        return Raw(b"null")


_UNUSED = Secret(b"no value is read")


def operations_of(
    history: History, run: str, steps: Sequence[str], now: Millis
) -> list[OperationView]:
    """The operations, in the order in which they were asked for.

    `steps` are the keys of those steps that are being carried out: one that began while nothing
    else was asked for is not in the history until it ends.
    """
    operations = timeline(history, _NoValues(_UNUSED, run))[1]
    found = {operation.key: operation for operation in operations}
    began = moment(max([0, *(getattr(entry, "clock", 0) for entry in history.entries)]) or now)
    for key in steps:
        if key not in found:
            operations.append(OperationView(key, Kind.STEP, key, "running", asked=began))
        elif found[key].ended is None:
            found[key].state = "running"
    return operations
