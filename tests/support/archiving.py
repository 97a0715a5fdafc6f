"""An archive in memory, which may be away; and what an engine needs to fill it."""

from __future__ import annotations

import json
from typing import Any

from rewake.engine.engine import Engine
from rewake.engine.keeping.archiving import Archiving, opened
from rewake.errors import CheckpointUnreadable, StoreUnavailable
from rewake.hosts.archives import archiving_of
from rewake.signing.secret import Secret
from rewake.stores.archive import Archive


class Kept:
    """What is archived, by day, run and name. `away`: nobody gets to it."""

    def __init__(self) -> None:
        self.documents: dict[tuple[str, str, str], bytes] = {}
        self.away = False
        self.calls = 0

    @property
    def runs(self) -> list[str]:
        """The runs of the documents that there are."""
        return sorted(run for _, run, _ in self.documents)

    def told(self, run: str, secret: Secret) -> dict[str, Any]:
        """The only document of a run."""
        [(place, document)] = [each for each in self.documents.items() if each[0][1] == run]
        found: dict[str, Any] = json.loads(opened(document, run, place[2], secret.codec))
        return found

    def archiving(self, engine: Engine, secret: Secret) -> Archiving:
        """What lets an engine fill it."""
        return archiving_of(Archive(lambda day: _Day(self, day)), engine, secret)

    def fill(self, engine: Engine, secret: Secret) -> None:
        """Let an engine fill it."""
        engine.services.keeping.archiving = self.archiving(engine, secret)

    def called(self) -> None:
        """Note a call, which may fail."""
        self.calls += 1
        if self.away:
            raise StoreUnavailable("the archive is away")


class _Day:
    """The shelf of a day."""

    def __init__(self, kept: Kept, day: str) -> None:
        self._kept = kept
        self._day = day

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        self._kept.called()
        self._kept.documents.setdefault((self._day, run, name), data)

    async def get_blob(self, run: str, name: str) -> bytes:
        self._kept.called()
        try:
            return self._kept.documents[self._day, run, name]
        except KeyError:
            raise CheckpointUnreadable(name) from None

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        self._kept.called()
        found = [each for each in self._kept.documents if each[:2] == (self._day, run)][:limit]
        for each in found:
            del self._kept.documents[each]
        return len(found) == limit

    async def listed(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        self._kept.called()
        found = sorted((run, name) for day, run, name in self._kept.documents if day == self._day)
        return [each for each in found if each > after][:limit]

    async def close(self) -> None:
        """Nothing is open."""
