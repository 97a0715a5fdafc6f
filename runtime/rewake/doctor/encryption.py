"""Whether what is stored is encrypted, and whether each run can be read with the keys of here.

A run that began encrypted has a digest key in its header, sealed (`values/run_codec.py`): who can
open that has the key under which the run began. So a run costs one small decryption, and none of
its history is read. A run that ended may be given up with its key, so that is only warned of; one
that has not ended cannot go on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from rewake.doctor.findings import Finding, failure, warning, well
from rewake.engine.runs.runs import Runs
from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.records import Header
from rewake.signing.aes_gcm import AesGcm
from rewake.signing.secret import Secret
from rewake.states import OPEN, RunState
from rewake.values.run_codec import digests_of

MOST_RUNS: Final = 5_000
"""So many runs are looked at, the newest."""
_PAGE = 200
_NAME = "encryption"
_KEYS = "REWAKE_ENCRYPTION_KEYS"
_GIVE_BACK = f"put the key back into {_KEYS} (or set REWAKE_CODEC as it was)"
_FORGED = (
    f"compare the bytes of that key in {_KEYS} with those of the other servers; then `rewake runs"
    " resume` what is stuck. If the key is right, somebody has changed the database"
)


class Unread(msgspec.Struct):
    """How many runs cannot be read here, and why.

    `going`, `ended`: by what is missing, of runs that have not ended and that have. `forged`: runs
    that a key which is known here does not open. `more`: there are runs beyond these.
    """

    going: Counter[str]
    ended: Counter[str]
    forged: int = 0
    more: bool = False


async def encryption(
    secret: Secret, engine: Runs | None, environ: Mapping[str, str] = os.environ
) -> Sequence[Finding]:
    """Whether it is on, and which runs cannot be read. Without an engine there are no runs yet."""
    found = Unread(Counter(), Counter()) if engine is None else await unread(engine)
    more = f"; only the newest {MOST_RUNS:,} runs were looked at" if found.more else ""
    findings: list[Finding] = []
    if found.going or (found.ended and secret.codec is None):
        told = _told(found.going + found.ended)
        findings.append(failure(_NAME, f"{told}{more}", f"{_GIVE_BACK}: what waits goes on then"))
    elif found.ended:
        told = f"of runs that have ended, {_told(found.ended)}{more}"
        findings.append(warning(_NAME, told, f"{_GIVE_BACK}, unless they are needed no more"))
    if found.forged:
        told = f"{_runs(found.forged)} cannot be opened by the key that they name{more}"
        findings.append(failure(_NAME, told, _FORGED))
    return [_setting(secret, environ, more), *findings]


def _setting(secret: Secret, environ: Mapping[str, str], more: str) -> Finding:
    codec = secret.codec
    if isinstance(codec, AesGcm):
        first, *others = codec.ids
        also = f"; {', '.join(others)} can be read" if others else ""
        return well(_NAME, f"on: key {first} encrypts{also}{more}")
    if codec is not None:
        return well(_NAME, f"on, by the app's own codec{more}")
    if environ.get(_KEYS) == "":
        told = f"off: {_KEYS} is set, and empty, so what is stored can be read by who has the file"
        return warning(_NAME, told, "set it to id:base64 (of 32 random bytes), or unset it")
    return well(_NAME, f"off ({_KEYS} is not set): who has the database can read it")


def _told(reasons: Counter[str]) -> str:
    return "; ".join(f"{_runs(count)} cannot be read here: {why}" for why, count in reasons.items())


def _runs(count: int) -> str:
    return f"{count:,} run{'' if count == 1 else 's'}"


async def unread(engine: Runs) -> Unread:
    """Which runs cannot be read with the keys of here."""
    found, cursor, looked = Unread(Counter(), Counter()), None, 0
    while True:
        headers, cursor = await engine.list(limit=_PAGE, cursor=cursor)
        for header in headers:
            _count(engine.services.secret, header, found)
        looked += len(headers)
        if cursor is None or looked >= MOST_RUNS:
            found.more = cursor is not None
            return found


def _count(secret: Secret, header: Header, found: Unread) -> None:
    try:
        digests_of(secret, header)
    except ReadableElsewhere as error:
        going = header.state in OPEN or header.state is RunState.STUCK
        (found.going if going else found.ended)[error.reason or str(error)] += 1
    except CheckpointUnreadable:
        found.forged += 1
