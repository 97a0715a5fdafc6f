"""How the operations of a run in this process stand, without their values."""

from __future__ import annotations

from collections.abc import Sequence

from rewake.kinds import Kind
from rewake.records import Millis
from rewake.stores.history import History
from rewake.views.moments import moment
from rewake.views.timeline import OperationView, timeline


def operations_of(history: History, steps: Sequence[str], now: Millis) -> list[OperationView]:
    """The operations, in the order in which they were asked for.

    `steps` are the keys of those steps that are being carried out: one that began while nothing
    else was asked for is not in the history until it ends.
    """
    operations = timeline(history)[1]
    found = {operation.key: operation for operation in operations}
    began = moment(max([0, *(getattr(entry, "clock", 0) for entry in history.entries)]) or now)
    for key in steps:
        if key not in found:
            operations.append(OperationView(key, Kind.STEP, key, "running", asked=began))
        elif found[key].ended is None:
            found[key].state = "running"
    return operations
