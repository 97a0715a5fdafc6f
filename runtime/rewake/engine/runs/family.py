"""The family of a run: those that it has begun, those that these have, and so on."""

from __future__ import annotations

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.records import Header, Scheduled
from rewake.stores.reads import Reads


async def family_of(store: Reads, run: str) -> list[Header]:
    """The runs below a run, as far as they are there; what began each stands before it.

    Of a run whose history cannot be read nobody knows what it has begun. Raises `RunNotFound`, and
    `ReadableElsewhere` if another process can read it.
    """
    found, left = dict[str, Header](), [await store.header(run)]
    while left:
        parent = left.pop()
        for child in await _begun_by(store, parent):
            header = None if child in found else await store.find(child)
            if header is not None and header.parent and header.parent.run == parent.run:
                found[child] = header
                left.append(header)
    return list(found.values())


async def _begun_by(store: Reads, header: Header) -> list[str]:
    try:
        entries = (await store.newest(header)).entries
    except ReadableElsewhere:
        raise
    except CheckpointUnreadable:
        return []
    asked = [each.about.run for each in entries if isinstance(each, Scheduled) and each.about]
    return list(dict.fromkeys(asked))
