"""How many readers of streams may wait at one server: a bounded number, and few by one link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.exceptions import HTTPException

MOST: Final = 256
"""So many readers may wait here."""
MOST_BY_LINK: Final = 16
"""So many of them by one link, which may have been passed on."""
_AGAIN = {"Retry-After": "5"}


class Readers:
    """The readers who wait here, by the links that they have."""

    def __init__(self) -> None:
        self._by = Counter[str]()

    @contextmanager
    def waiting(self, link: str) -> Iterator[None]:
        """Count a reader; `link`: that by which it reads, or empty. Raises a 429 or a 503."""
        if self._by.total() >= MOST:
            raise HTTPException(503, "too many readers wait at this server", _AGAIN)
        if link and self._by[link] >= MOST_BY_LINK:
            raise HTTPException(429, "too many readers wait by this link", _AGAIN)
        self._by[link] += 1
        try:
            yield
        finally:
            self._by[link] -= 1
            if not self._by[link]:
                del self._by[link]
