"""The notices of an approval: what its `notify=` task was called with, as the history has it."""

from __future__ import annotations

from contextlib import suppress

from rewake.authoring.notifying import MARK, Notice
from rewake.engine.attempts.run_codecs import codec_for
from rewake.engine.services import Services
from rewake.errors import RewakeError
from rewake.kinds import Kind, Purpose
from rewake.records import Header, Millis, Scheduled
from rewake.stores.history import StepTries


async def notices_of(services: Services, header: Header, key: str) -> list[tuple[Millis, Notice]]:
    """What was told of the approval at this key, and when. What cannot be read is left out."""
    moments, found = StepTries(), list[tuple[Millis, Notice]]()
    for entry in (await services.store.newest(header)).entries:
        moments.read(entry)
        if isinstance(entry, Scheduled) and entry.kind is Kind.TASK and MARK in entry.key:
            notice = await _notice(services, header.run, entry)
            if notice is not None and notice.key == key:
                found.append((moments.clock, notice))
    return found


async def _notice(services: Services, run: str, asked: Scheduled) -> Notice | None:
    with suppress(RewakeError):
        value = (await services.store.whole(run, asked)).args
        if value is not None:
            codec = await codec_for(services, run, value)
            *_, args, _ = codec.decode(value, key=asked.key, purpose=Purpose.CALL)
            return args[0] if args and isinstance(args[0], Notice) else None
    return None
