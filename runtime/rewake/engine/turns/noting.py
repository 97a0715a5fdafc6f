"""What a body says of its run, as it goes into the header with the next commit."""

from __future__ import annotations

from msgspec.structs import replace

from rewake.engine.services import Services
from rewake.kinds import Purpose
from rewake.ledger import View
from rewake.records import Header
from rewake.replay.execution import Execution
from rewake.replay.notes import Notes
from rewake.values.run_codec import RunCodec


class Noting:
    """Writes down what the body of one turn says of its run."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._listed = services.store.labelled
        self._gone: dict[str, str] = {}

    async def in_header(self, header: Header, notes: Notes) -> Header:
        """The header as it is committed with these notes; what finds it by labels comes before."""
        made = replace(header)
        if notes.shown:
            codec = RunCodec(self._services.secret, header.run)
            made.status = codec.encode(notes.shown, key="", purpose=Purpose.STATUS)
        if notes.relabelled:
            before, made.labels = header.labels or {}, notes.labels
            new = {n: v for n, v in notes.labels.items() if before.get(n) != v}
            await self._listed.put(_view(header), new)
            self._gone |= {n: v for n, v in before.items() if notes.labels.get(n) != v}
        return made

    async def committed(self, header: Header) -> None:
        """Let the run be found no more by labels that it had before this commit."""
        if self._gone:
            labels, gone = header.labels or {}, self._gone
            self._gone = {}
            stale = {n: v for n, v in gone.items() if labels.get(n) != v}
            await self._listed.remove(_view(header), stale)


def know_again(
    services: Services, header: Header, execution: Execution, *, fresh: bool = False
) -> None:
    """Let an instance know what the body said inside of the blocks that its replay passed over.

    `fresh`: the run is a fork that no instance has had, so its header has nothing of it.
    """
    notes = execution.notes
    if fresh:
        notes.changed = notes.changed or bool(notes.shown)
        if notes.labels != (header.labels or {}):
            notes.label(notes.labels, new=True)
    if fresh or not execution.blocks.passed or notes.changed:
        return
    if header.status is not None:
        codec = RunCodec(services.secret, header.run)
        notes.shown = codec.decode(header.status, key="", purpose=Purpose.STATUS)
    if header.labels is not None:
        notes.labels = dict(header.labels)


def _view(header: Header) -> View:
    return View(header.run, header.workflow, header.created)
