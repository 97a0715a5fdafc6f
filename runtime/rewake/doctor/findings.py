"""What a check finds, and how checks are carried out: none hides what another one finds.

A check is a function of its own, bounded in time. One that fails in a way that nobody foresaw is a
finding as well, and the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

PATIENCE: Final = 6.0
"""Seconds that a check may take."""


class Status(StrEnum):
    """How bad it is: `warn` works, but not as it should."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """What a check found: in one line, and what to do about it where it is not well."""

    check: str
    status: Status
    told: str
    do: str = ""


Checks = Mapping[str, Callable[[], Awaitable[Sequence[Finding]]]]
"""By name: what finds something out."""


def well(check: str, told: str) -> Finding:
    """It is as it should be."""
    return Finding(check, Status.OK, told)


def warning(check: str, told: str, do: str) -> Finding:
    """It works, but not as it should."""
    return Finding(check, Status.WARN, told, do)


def failure(check: str, told: str, do: str) -> Finding:
    """It does not work."""
    return Finding(check, Status.FAIL, told, do)


async def carried_out(checks: Checks, patience: float = PATIENCE) -> list[Finding]:
    """What all of them find, in their order: one after the other, for some measure time."""
    found: list[Finding] = []
    for name, check in checks.items():
        found += await _of(name, check, patience)
    return found


async def _of(
    name: str, check: Callable[[], Awaitable[Sequence[Finding]]], patience: float
) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(patience):
            return await check()
    except TimeoutError:
        told = f"no answer within {patience:g} seconds"
        return [failure(name, told, "see what keeps it: a full disk, a lock, a network")]
    except Exception as error:  # of any kind: the other checks go on
        told = f"it could not be checked: {type(error).__name__}: {error}"
        return [failure(name, told, "mend what the error says, and ask again")]
