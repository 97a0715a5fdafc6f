"""Lists of runs: what stands for a run that cannot be read, and how a list goes on."""

from __future__ import annotations

from collections.abc import Sequence

from rewake.errors import CheckpointUnreadable
from rewake.records import Header, View
from rewake.states import RunState
from rewake.stores.keys import view_key
from rewake.values.failures import described


def unreadable(view: View, error: CheckpointUnreadable) -> Header:
    """A stand-in for the header of a listed run, if this process cannot read it."""
    header = Header(view.run, view.workflow, view.created, seed=0, runtime=0)
    header.state, header.error = RunState.STUCK, described(error)
    return header


def discreet(cursor: str | None, shown: Sequence[Header]) -> str | None:
    """A cursor that names no run but those that were shown; what lies between is looked at again.

    A page that shows none goes on from a moment, at which others may have been started.
    """
    if cursor is None:
        return None
    if not shown:
        return f"{cursor.partition('#')[0]}#"
    last = shown[-1]
    return view_key(View(last.run, last.workflow, last.created)).sort
