"""Writes the audit log: what somebody did, or was refused, before that is answered.

An action comes first and its entry follows, so a crash between the two leaves an action without an
entry; the run's own history tells of it. A start is the most frequent: where the database joins
writes, one commit has it and its entry. An entry that cannot be written undoes nothing and fails
nothing: the server's log says so, and has the entry. Each entry is a line of that log as well.

Refusals are many where somebody tries doors, and must not fill a disk. Of each principal, and of
all strangers together, `FEW` a minute are written by each server; the next one that is written says
how many were left out before it (`more`).

Where a request comes from is the address of whoever has the connection. What headers say of it is
said by whoever sends them, and is not believed, unless the server is told which proxies to trust
(`REWAKE_PROXIES`). An entry has no body, no query and no header.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from rewake.access import Scope
from rewake.clock import Clock
from rewake.http.writes import FewAMinute, Writes
from rewake.ledger import Audited
from rewake.signing.api_tokens import redacted
from rewake.stores.audit import Audit

log = logging.getLogger("rewake.audit")

FEW = 20
"""The most refusals of one principal that are written in a minute; as many of all strangers."""
_MOST_KNOWN = 1_000
_PATIENCE = 2.0
"""Seconds that an answer waits for its entry."""
_LONGEST = 255
_STRANGER = "a stranger"


class Auditor:
    """Writes entries for the requests that one app answers."""

    def __init__(self, audit: Audit, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._refusals = FewAMinute(FEW, _MOST_KNOWN)
        self._writes = Writes()

    async def tell(
        self,
        scope: Scope,
        action: str,
        status: int,
        *,
        who: str = "",
        client: str = "",
        run: str = "",
        about: str = "",
        why: str = "",
        within: bool = False,
    ) -> None:
        """Write that this was done or, by its status, refused or tried in vain. Raises nothing.

        `why` is for the server's log alone. `within`: it is written in the write that does it.
        """
        now = self._clock.now()
        more = self._refusals.admit(who, now) if status >= 400 else 0
        if more is None:
            return
        entry = Audited(
            now, who, action, status, plain_text(run), plain_text(about), plain_text(client), more
        )
        _say(entry, plain_text(why))
        if within:
            await self._write(entry, scope)
            return
        writing = self._writes.begin(self._write(entry, scope))
        await asyncio.wait({writing}, timeout=_PATIENCE)

    async def _write(self, entry: Audited, scope: Scope) -> None:
        try:
            await self._audit.append(entry, scope)
        except Exception as error:  # of any kind: what was done stays done
            told = "an entry of the audit log could not be written: %s"
            log.error(told, error, extra=_extra(entry))

    async def rest(self) -> None:
        """Wait for what is being written."""
        await self._writes.close(_PATIENCE)

    async def close(self) -> None:
        """Wait for what is being written, and say how many refusals had no entry."""
        for who, count in self._refusals.left_out().items():
            told = "%d more requests of %s were refused and have no entry"
            log.info(told, count, who or _STRANGER)
        await self.rest()


def client_of(scope: Mapping[str, Any]) -> str:
    """The address that a request came from; empty if that is none."""
    host = (scope.get("client") or ("",))[0]
    try:
        return str(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:  # a Unix socket, or what a trusted proxy had not checked
        return ""


def plain_text(text: str) -> str:
    """A short text without a token in it, which cannot pretend to be another line of a log."""
    return redacted(text)[:_LONGEST].encode("unicode_escape").decode("ascii")[:_LONGEST]


def _say(entry: Audited, why: str) -> None:
    run = f"run {entry.run}" if entry.run else ""
    told = " ".join(each for each in (entry.action, run, entry.about) if each)
    more = f", {entry.more} more like it before" if entry.more else ""
    reason = f": {why}" if why else ""
    line = "%s: %s %s from %s%s%s"
    who = entry.who or _STRANGER
    log.info(line, who, told, entry.status, entry.client or "?", more, reason, extra=_extra(entry))


def _extra(entry: Audited) -> dict[str, Any]:
    return {"audit": msgspec.to_builtins(entry)}
