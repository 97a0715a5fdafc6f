"""Checks of the machine and of the settings: secret, versions, disk."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rewake.doctor.findings import Finding, failure, warning, well
from rewake.signing.secret import Secret

WEAK: Final = 64
"""Fewer bits than this can be guessed, given time."""
STRONG: Final = 110
"""What a random secret of sixteen bytes has, whichever way it is written, or nearly."""
LEAST_ROOM: Final = 100 * 2**20
FEW_ROOM: Final = 2**30
"""Bytes of disk."""

_MAKE_ONE: Final = (
    "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))', and put it before the"
    " old one with a comma, which stays accepted"
)


async def secret_strength(secret: Secret | None) -> Sequence[Finding]:
    """Whether the secret that signs can be guessed."""
    name = "secret"
    if secret is None:
        told = "REWAKE_SECRET is not set: `rewake serve` does not start"
        return [failure(name, told, _MAKE_ONE.partition(", and put")[0])]
    bits, ids = secret.bits, ", ".join(secret.ids)
    told = f"the one that signs has at most {bits} bits; key ids: {ids}"
    if bits < WEAK:
        return [failure(name, told, _MAKE_ONE)]
    if bits < STRONG or secret.is_typed:
        typed = ", and reads like one that was typed" if secret.is_typed else ""
        return [warning(name, told + typed, _MAKE_ONE)]
    return [well(name, f"strong; key ids: {ids}")]


async def token_strength(token: str) -> Sequence[Finding]:
    """Whether the server's own bearer token can be guessed."""
    bits = Secret(token).bits
    told, do = f"the server's own has at most {bits} bits", "set REWAKE_TOKEN to a random text"
    if bits < STRONG:
        return [(failure if bits < WEAK else warning)("token", told, do)]
    return [well("token", "strong")]


async def versions() -> Sequence[Finding]:
    """What runs here."""
    python = ".".join(map(str, sys.version_info[:3]))
    told = f"Python {python}, SQLite {sqlite3.sqlite_version}"
    if sys.version_info.releaselevel != "final":
        return [warning("versions", f"{told}: a trial version of Python", "use a released one")]
    return [well("versions", told)]


async def room(folder: Path | None) -> Sequence[Finding]:
    """Whether the disk of the database has room."""
    if folder is None:
        return [well("disk", "the database is not on a disk of this machine")]
    free = shutil.disk_usage(folder).free
    told = f"{free / 2**30:,.1f} GiB free where the database is"
    do = "make room, or the database cannot be written"
    if free < LEAST_ROOM:
        return [failure("disk", told, do)]
    return [warning("disk", told, do) if free < FEW_ROOM else well("disk", told)]
