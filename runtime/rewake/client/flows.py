"""The operations of a client, as flows: what each of them asks, and what of the answer it gives."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from rewake.client.answers import Reply
from rewake.client.asking import (
    TOO_SOON,
    Ask,
    Flow,
    Manner,
    Pause,
    sending,
)
from rewake.client.typed import AnyWorkflow, first_signal, labelled
from rewake.errors import NotYet, UpdateRejected, UsageError
from rewake.values.data import encoded

View = dict[str, Any]
"""What the server tells of something, as the reference has it."""
PAGE = 200
"""How many runs are asked for at once."""

_CALLBACK = re.compile(r"https?://[^/?#@\s]+/([^?#\s]+/)?callback/[^/?#\s]+/?")


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is started. `id` and `key` name it, the policies say what a start does that finds
    it there; `at` or `delay`: when it begins; `wait`: so many seconds for its result; `connection`:
    in whose transaction; `tenant`: whose run it is; `priority`: -100 to 100.
    """

    id: str | None = None
    key: str | None = None
    if_running: str | None = None
    if_finished: str | None = None
    at: datetime | None = None
    delay: float | timedelta | None = None
    wait: float = 0
    connection: object = None
    tenant: str | None = None
    priority: int | None = None
    labels: Mapping[str, str] | None = None

    def named(self, id: str) -> Options:
        """The same with a name, so that the start can be sent again. Raises `UsageError`.

        `id`: what it is called if it has no other.
        """
        policies = {"if_running": self.if_running, "if_finished": self.if_finished}
        nameless = self.id is None and self.key is None
        for name, value in policies.items():
            if value is not None and nameless:
                raise UsageError(f"{name}= is about the run of an id or a key: give one")
        if self.at is not None and self.delay is not None:
            raise UsageError("give either at= or delay=, not both")
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            raise UsageError(f"delay= is a number of seconds from 0 on, and not {self.delay}")
        if self.key is not None and (not self.key.isprintable() or self.key != self.key.strip()):
            raise UsageError("a key is one line of text, without spaces around it")
        return replace(self, id=id) if nameless else self

    @property
    def query(self) -> dict[str, object]:
        """What of it is in the query of a start."""
        found: dict[str, object] = {
            "id": self.id,
            "if_running": self.if_running,
            "if_finished": self.if_finished,
        }
        at = None if self.at is None else self.at.astimezone().isoformat()
        found |= {"at": at, "delay": self.seconds, "label": labelled(self.labels)}
        return {**found, "tenant": self.tenant, "priority": self.priority}

    @property
    def seconds(self) -> float | None:
        """The delay in seconds."""
        delay = self.delay
        return delay.total_seconds() if isinstance(delay, timedelta) else delay

    @property
    def repeatable(self) -> bool:
        """Whether of two such starts the second is answered with the run of the first."""
        return self.if_running in (None, "attach") and self.if_finished in (None, "attach")


def start(manner: Manner, workflow: str, body: bytes, options: Options) -> Flow[tuple[Reply, bool]]:
    """Start a run, which may be there already; and whether this has made it.

    A run of an id that was made up here is new, also where the answer to a first one got lost.
    """
    named = options.named(manner.unique())
    ask = Ask(
        "POST",
        ("v1", "workflows", workflow, "runs"),
        named.query,
        body,
        {} if named.key is None else {"Idempotency-Key": named.key},
        wait=options.wait,
        repeatable=named.repeatable,
    )
    reply = yield from sending(ask, manner)
    own = named is not options and reply.body["id"] == named.id
    return reply, own or "idempotency-replayed" not in reply.headers


def outcome(manner: Manner, run: str, wait: float | None) -> Flow[Reply]:
    """How a run ended: 202 if it has not within `wait` seconds; with None however long it takes.

    A server that answers too soon, since it is closing, is asked again after a pause. Raises
    `StuckError`.
    """
    until = None if wait is None else manner.now() + wait
    while True:
        began = manner.now()
        left = manner.longest if until is None else min(max(0.0, until - began), manner.longest)
        path = ("v1", "runs", run, "result")
        ask = Ask("GET", path, wait=round(left, 3), repeatable=True)
        reply = yield from sending(ask, manner, until)
        now = manner.now()
        if reply.status != 202 or (until is not None and now >= until):
            return reply
        if now - began < min(left, TOO_SOON):
            yield Pause(TOO_SOON if until is None else min(TOO_SOON, until - now))


def told(manner: Manner, run: str, cursor: str | None, only: Sequence[str] | None) -> Flow[View]:
    """The next page of what a run tells, which may be empty after a long poll."""
    query = {"cursor": cursor, "only": None if only is None else ",".join(only)}
    path, began = ("v1", "runs", run, "stream"), manner.now()
    ask = Ask("GET", path, query, wait=manner.longest, repeatable=True)
    page: View = (yield from sending(ask, manner)).body
    nothing = not (page["items"] or page["ended"])
    if nothing and manner.now() - began < TOO_SOON:
        yield Pause(TOO_SOON)
    return page


def fetched(manner: Manner, *path: str, query: Mapping[str, object] | None = None) -> Flow[View]:
    """What is at a path."""
    ask = Ask("GET", ("v1", *path), query or {}, repeatable=True)
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def done(manner: Manner, *path: str, body: Mapping[str, object]) -> Flow[View]:
    """Do what is at a path, once. What is None in the body is left out."""
    given = {name: value for name, value in body.items() if value is not None}
    ask = Ask("POST", ("v1", *path), body=encoded(given))
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def published(manner: Manner, name: str, data: object, id: str | None) -> Flow[View]:
    """Publish an event, by an id of its own, so that it can be sent again."""
    body = encoded({"data": data, "id": manner.unique() if id is None else id})
    ask = Ask("POST", ("v1", "events", name), body=body, repeatable=True)
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def begun(
    manner: Manner, run: str, how: str, id: str | None, body: Mapping[str, object]
) -> Flow[View]:
    """Begin a run that is made of another one; its id makes it safe to ask again."""
    given = {name: value for name, value in body.items() if value is not None}
    given["id"] = id or manner.unique()
    ask = Ask("POST", ("v1", "runs", run, how), body=encoded(given), repeatable=True)
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def called(manner: Manner, address: str, *path: str, body: object = None) -> Flow[View]:
    """Call a callback by its address; for the same call twice it has the same answer."""
    token_in(address)
    at = "/".join([address.rstrip("/"), *path])
    ask = Ask("POST", body=encoded(body), repeatable=True, at=at)
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def token_in(address: str) -> str:
    """The token of a callback, by its address. Raises `UsageError`."""
    if not _CALLBACK.fullmatch(address):
        raise UsageError("URL is no address of a callback: https://HOST/callback/TOKEN")
    return address.rstrip("/").rpartition("/")[2]


def signalled(
    manner: Manner, run: str, name: str, value: object, id: str | None, wait: float = 0
) -> Flow[View]:
    """Send a signal, which is delivered once however often it must be sent."""
    path = ("v1", "runs", run, "signals", name)
    return (yield from _signal(manner, path, {}, encoded(value), id, wait))


def signalled_or_started(
    manner: Manner,
    key: str,
    name: str,
    workflow: str,
    body: Mapping[str, object],
    id: str | None,
    tenant: str | None,
) -> Flow[View]:
    """Send a signal to the run of a key, or start one with it."""
    path, query = ("v1", "workflows", workflow, "signals", name), {"key": key, "tenant": tenant}
    return (yield from _signal(manner, path, query, encoded(body), id, 0))


def signalled_by_key(
    manner: Manner,
    workflow: AnyWorkflow | str,
    key: str,
    name: str,
    value: object,
    args: tuple[Any, ...],
    given: Mapping[str, Any],
) -> Flow[View]:
    """The same; `args` and `given` are arguments of a workflow, or of its name `SignalOptions`."""
    return signalled_or_started(manner, key, name, *first_signal(workflow, value, args, given))


def _signal(
    manner: Manner,
    path: tuple[str, ...],
    query: Mapping[str, object],
    body: bytes,
    id: str | None,
    wait: float,
) -> Flow[View]:
    headers = {"Idempotency-Key": manner.unique() if id is None else id}
    ask = Ask("POST", path, query, body, headers, wait=wait, repeatable=True)
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def updated(
    manner: Manner, run: str, name: str, value: object, id: str | None, wait: float | None
) -> Flow[object]:
    """Send an update, and wait for its answer. Raises `UpdateRejected`, `NotYet`."""
    until = None if wait is None else manner.now() + wait
    known = manner.unique() if id is None else id
    view = yield from signalled(manner, run, name, value, known, _left(manner, until))
    return (yield from _answered(manner, view, until))


def answered(manner: Manner, run: str, id: str, wait: float | None) -> Flow[object]:
    """Wait for the answer to an update that was sent. Raises `UpdateRejected`, `NotYet`."""
    until = None if wait is None else manner.now() + wait
    return (yield from _answered(manner, {"run": run, "id": id, "state": "sent"}, until))


def _answered(manner: Manner, view: View, until: float | None) -> Flow[object]:
    first = True
    while view["state"] == "sent":
        if not first and until is not None and manner.now() >= until:
            raise NotYet(f"the update {view['id']} has no answer yet; ask again by its id")
        began, left = manner.now(), _left(manner, until)
        path = ("v1", "runs", view["run"], "signals", view["id"])
        ask = Ask("GET", path, wait=left, repeatable=True)
        view = (yield from sending(ask, manner)).body
        first = False
        if view["state"] == "sent" and manner.now() - began < min(left, TOO_SOON):
            yield Pause(TOO_SOON if until is None else min(TOO_SOON, max(0, until - manner.now())))
    if view["state"] != "accepted":
        raise UpdateRejected(view.get("reason", ""))
    return view["result"]


def _left(manner: Manner, until: float | None) -> float:
    left = manner.longest if until is None else min(max(0.0, until - manner.now()), manner.longest)
    return round(left, 3)
