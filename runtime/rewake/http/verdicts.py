"""What became of a delivery: what its sender is told, and what an operator may know.

Everything that was sent to a webhook comes to one `Verdict`, and `note` sees each of them.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from rewake.errors import InvalidInput, Overloaded, RewakeError, Unauthentic
from rewake.http.auditor import client_of
from rewake.http.keeping import LARGEST_KEPT, Became
from rewake.http.parts import Parts, parts_of
from rewake.http.principals import principal_in
from rewake.http.problems import plain, problem_of
from rewake.ledger import Received
from rewake.records import Header
from rewake.values.text import storable
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.diagnosis import told_why
from rewake.webhooks.hooks import Hook
from rewake.webhooks.redacting import kept_body, kept_headers, kept_query
from rewake.webhooks.schemes import WRONG

log = logging.getLogger("rewake.hooks")

_LONGEST_REASON = 300
_UNVERIFIED = "this delivery could not be verified"


class Verdict(NamedTuple):
    """What became of a delivery. `reason`: why it was refused, for operators only.

    `gone`: the run that it started, of which nothing is kept any more.
    """

    became: Became
    response: Response | None = None
    header: Header | None = None
    reason: str = ""
    gone: str = ""


@dataclass(slots=True)
class Seen:
    """What was found out of a delivery. `verified`: it was sent by who may; `key`: its run's.

    `room` holds its place among those that wait, until it is answered. `read`: its whole body was.
    """

    hook: Hook | None
    room: ExitStack
    read: bool = False
    verified: bool = False
    key: str | None = None


class HookFailed(Exception):
    """`arguments=` or `key=` of a webhook has failed: which, and where, with no part of a value."""


def failed(error: Exception) -> Verdict:
    """What becomes of a delivery by which something here fails."""
    told = str(error) if isinstance(error, HookFailed) else type(error).__name__
    return Verdict(Became.FAILED, reason=told)


def refused(error: Unauthentic | InvalidInput | Overloaded | HTTPException) -> Verdict:
    """What becomes of a delivery that is refused with this error."""
    if isinstance(error, Unauthentic):
        # One answer to all: one who forges would learn from the difference.
        return Verdict(Became.REFUSED, problem_of(Unauthentic(_UNVERIFIED)), reason=str(error))
    if isinstance(error, RewakeError):
        return Verdict(Became.REFUSED, problem_of(error), reason=str(error))
    response = plain(error.status_code, error.detail, error.headers)
    return Verdict(Became.REFUSED, response, reason=error.detail)


async def note(
    request: Request, delivery: Delivery, seen: Seen, verdict: Verdict, of: str = ""
) -> None:
    """Say what became of a delivery, and keep it. This is the one place that sees each.

    `of`: the delivery that was sent again by hand, by its id.
    """
    parts, principal = parts_of(request), principal_in(request.scope)
    known = bool(of) or (seen.verified and verdict.became is not Became.ANSWERED)
    more: int | None = 0
    if not known and verdict.became is not Became.STARTED:
        more = parts.keeper.admit(seen.hook.webhook.path if seen.hook is not None else "")
    reason = _one_line(verdict.reason)
    if more is not None and seen.hook is not None and verdict.reason.startswith(WRONG):
        reason = await told_why(seen.hook, delivery, reason, parts.clock.now())
    _say(delivery, verdict, reason)
    if more is None:
        return
    body = kept_body(seen.hook, delivery.body)
    whole = seen.read and len(body) <= LARGEST_KEPT
    workflow = None if seen.hook is None else parts.engine.app.workflows.get(seen.hook.workflow)
    found = msgspec.structs.replace(
        _as_it_was(delivery, seen.hook),
        at=parts.clock.now(),
        verdict=str(verdict.became),
        reason=reason,
        status=verdict.response.status_code if verdict.response is not None else 0,
        run=verdict.header.run if verdict.header is not None else verdict.gone,
        key=seen.key or "",
        whole=whole,
        hidden=[] if workflow is None else list(workflow.inputs.hidden),
        client=client_of(request.scope),
        by=principal.who if principal is not None else "",
        of=of,
        more=more,
    )
    if verdict.gone:  # else what was erased would be here again
        found = msgspec.structs.replace(found, headers=[], query=[], key="", whole=False)
    await parts.keeper.keep(found, body if found.whole else b"", known=known)


async def note_stray(parts: Parts, scope: Scope) -> None:
    """Keep what was turned away although it was meant for a hook: a proxy has added to its path."""
    prefix, _, path = scope["path"].partition("/hooks/")
    hook = parts.hooks.get(path)
    if not prefix or hook is None or scope["method"] != "POST":
        return
    more = parts.keeper.admit(path)
    if more is None:
        return
    reason = _one_line(
        f"it came to {scope['path']}, and the hook is at /hooks/{path}: let the proxy take off the"
        f" prefix {prefix}, or serve the app below it"
    )
    log.warning("a delivery to /hooks/%s was refused: %s", path, reason)
    request = Request(scope)
    delivery = Delivery(
        path, headers=request.headers.items(), query=request.query_params.multi_items()
    )
    found = msgspec.structs.replace(
        _as_it_was(delivery, hook),
        at=parts.clock.now(),
        verdict=str(Became.REFUSED),
        reason=reason,
        status=401,
        whole=False,
        client=client_of(scope),
        more=more,
    )
    await parts.keeper.keep(found, b"", known=False)


def _as_it_was(delivery: Delivery, hook: Hook | None) -> Received:
    """What was sent, without the secrets in it."""
    return Received(
        0,
        _one_line(delivery.path),
        "",
        workflow=hook.workflow if hook is not None else "",
        method=delivery.method,
        headers=kept_headers(hook, delivery.headers.pairs()),
        query=kept_query(delivery.query.pairs()),
        size=len(delivery.body),
    )


def _say(delivery: Delivery, verdict: Verdict, reason: str) -> None:
    path, run = _one_line(delivery.path), verdict.header.run if verdict.header else ""
    if verdict.became in (Became.REFUSED, Became.FAILED):
        log.warning("a delivery to /hooks/%s was %s: %s", path, _SAID[verdict.became], reason)
    else:
        log.info("a delivery to /hooks/%s: %s %s", path, verdict.became, run)


_SAID = {Became.REFUSED: "refused", Became.FAILED: "not taken"}


def _one_line(text: str) -> str:
    """A text of a stranger, as a log can hold it."""
    begun = text[: _LONGEST_REASON + 1]  # a stranger's path may be long
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in begun)
    return storable(shown if len(shown) <= _LONGEST_REASON else f"{shown[:_LONGEST_REASON]}…")
