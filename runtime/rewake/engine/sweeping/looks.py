"""Looks at many entries of the due index, of which one that cannot be read harms no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rewake.engine.process.leases import PASSING
from rewake.stores.table import Due, Key

T = TypeVar("T")
log = logging.getLogger("rewake.sweeper")

PAGE = 500
"""How many entries are looked at together."""


async def look_at_each(
    page: Sequence[Due], look: Callable[[Key], Awaitable[T]]
) -> list[tuple[Due, T]]:
    """What came of a look at each of these; those at which it failed are left out.

    Raises what is the store's trouble, and not the item's: then the page is to be looked at again.
    """
    results = await asyncio.gather(*(look(due.key) for due in page), return_exceptions=True)
    found: list[tuple[Due, T]] = []
    for due, result in zip(page, results, strict=True):
        if isinstance(result, PASSING):
            raise result
        if isinstance(result, BaseException):
            log.debug("%s could not be looked at", due.key.sort, exc_info=result)
        else:
            found.append((due, result))
    return found
