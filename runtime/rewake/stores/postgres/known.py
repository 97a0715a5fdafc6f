"""Items as a process last saw them, so that most writes need no reading first."""

from __future__ import annotations

from collections import OrderedDict

from rewake.stores.table import Key

BYTES = 8 * 1024 * 1024
"""The most bytes of items that are kept."""
_OVERHEAD = 300


class Known:
    """Bodies by their keys: the newest, up to so many `most` bytes. They may be out of date."""

    def __init__(self, most: int = BYTES) -> None:
        self._most = most
        self._size = 0
        self._bodies: OrderedDict[Key, bytes] = OrderedDict()

    def get(self, key: Key) -> bytes | None:
        """The body of an item as it was; None: nothing is known of it."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def note(self, key: Key, body: bytes | None) -> None:
        """Keep what was seen of an item; with None, nothing is known of it any more."""
        before = self._bodies.pop(key, None)
        if before is not None:
            self._size -= len(before) + _OVERHEAD
        if body is None:
            return
        self._bodies[key] = body
        self._size += len(body) + _OVERHEAD
        while self._size > self._most:
            _, oldest = self._bodies.popitem(last=False)
            self._size -= len(oldest) + _OVERHEAD
