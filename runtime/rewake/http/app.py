"""The Starlette app: its routes are one table."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.routing import Route

from rewake.clock import Clock, SystemClock
from rewake.doctor.host import Ticks
from rewake.engine.engine import Engine
from rewake.http import (
    approvals,
    approving,
    audit,
    cached,
    callbacks,
    dead_letters,
    deliveries,
    doctor,
    events,
    histories,
    internal,
    keyed,
    limits,
    overdue,
    probing,
    removals,
    runs,
    schedules,
    signals,
    streams,
    tokens,
    trails,
)
from rewake.http.admission import admitted
from rewake.http.auditor import Auditor
from rewake.http.bodies import LIMIT, Endpoint, not_too_early, with_known_query
from rewake.http.cors import StreamCors
from rewake.http.fresh import with_tag
from rewake.http.gate import Gate
from rewake.http.hooks import deliver
from rewake.http.inbox import Inbox
from rewake.http.keeping import Keeper
from rewake.http.link_headers import LinkHeaders
from rewake.http.load import LIMITS, Limits, Load
from rewake.http.needs import needs_of
from rewake.http.openapi import openapi
from rewake.http.parts import Parts
from rewake.http.people import People
from rewake.http.principals import Principals
from rewake.http.problems import HANDLERS
from rewake.http.view_counter import ViewCounter
from rewake.identity.settings import IdentitySettings
from rewake.signing.secret import Secret
from rewake.signing.tokens import Keys
from rewake.webhooks.hooks import Hook, hooks_of

ROUTES: Sequence[tuple[str, str, Endpoint]] = (
    # They are tried in this order: first what a run needs, and who waits for it.
    ("POST", "/v1/invoke", internal.invoke),
    ("POST", "/v1/workflows/{name}/runs", runs.start),
    ("GET", "/v1/runs/{run}/result", runs.result),
    ("GET", "/v1/runs/{run}", runs.get),
    ("GET", "/healthz", internal.healthy),
    ("GET", "/readyz", internal.ready),
    ("GET", "/openapi.json", openapi),
    ("GET", "/v1/limits", limits.listing),
    ("GET", "/v1/overdue", overdue.listing),
    ("GET", "/v1/cache", cached.listing),
    ("POST", "/v1/cache/clear", cached.clear),
    ("GET", "/v1/workflows", runs.workflows),
    ("GET", "/v1/workflows/{name}", runs.workflow),
    ("GET", "/v1/events/{event}", events.listing),
    ("POST", "/v1/events/{event}", events.publish),
    ("GET", "/v1/runs", runs.listing),
    ("GET", "/v1/stats/runs", runs.counts),
    ("GET", "/v1/runs/{run}/history", histories.history),
    ("GET", "/v1/runs/{run}/operations", histories.operations),
    ("GET", "/v1/runs/{run}/operations/{key:path}", histories.operation),
    ("GET", "/v1/runs/{run}/logs", histories.logs),
    ("GET", "/v1/runs/{run}/stream", streams.stream),
    ("POST", "/v1/runs/{run}/links", streams.link),
    ("POST", "/v1/runs/{run}/cancel", runs.cancel),
    ("POST", "/v1/runs/{run}/kill", runs.kill),
    ("POST", "/v1/runs/{run}/pause", runs.pause),
    ("POST", "/v1/runs/{run}/rerun", runs.rerun),
    ("POST", "/v1/runs/{run}/fork", runs.fork),
    ("POST", "/v1/runs/{run}/resume", runs.resume),
    ("POST", "/v1/runs/{run}/retry", runs.retry),
    ("POST", "/v1/runs/{run}/hold", removals.hold),
    ("POST", "/v1/runs/{run}/unhold", removals.unhold),
    ("POST", "/v1/runs/{run}/erase", removals.erase),
    ("POST", "/v1/purge", removals.purge),
    ("GET", "/v1/runs/{run}/signals", signals.listing),
    ("GET", "/v1/runs/{run}/signals/{signal}", signals.get),
    ("POST", "/v1/runs/{run}/signals/{signal}", signals.send),
    ("POST", "/v1/workflows/{name}/signals/{signal}", signals.signal_or_start),
    ("GET", "/v1/runs/{run}/approvals/{key:path}", trails.get),
    ("POST", "/v1/runs/{run}/approvals/{key:path}", approvals.decide),
    ("GET", "/v1/schedules", schedules.listing),
    ("POST", "/v1/schedules", schedules.create),
    ("GET", "/v1/schedules/{schedule}", schedules.get),
    ("POST", "/v1/schedules/{schedule}", schedules.change),
    ("DELETE", "/v1/schedules/{schedule}", schedules.delete),
    ("GET", "/v1/schedules/{schedule}/next", schedules.upcoming),
    ("POST", "/v1/schedules/{schedule}/pause", schedules.pause),
    ("POST", "/v1/schedules/{schedule}/resume", schedules.resume),
    ("POST", "/v1/schedules/{schedule}/trigger", schedules.trigger),
    ("POST", "/v1/schedules/{schedule}/backfill", schedules.backfill),
    ("GET", "/v1/tokens", tokens.listing),
    ("POST", "/v1/tokens", tokens.create),
    ("DELETE", "/v1/tokens/{name}", tokens.revoke),
    ("GET", "/v1/audit", audit.listing),
    ("GET", "/v1/deliveries", deliveries.listing),
    ("GET", "/v1/deliveries/{id}", deliveries.show),
    ("POST", "/v1/deliveries/{id}/replay", deliveries.replay),
    ("GET", "/v1/state", keyed.listing),
    ("GET", "/v1/state/{state}/{key:path}", keyed.get),
    ("PUT", "/v1/state/{state}/{key:path}", keyed.write),
    ("DELETE", "/v1/state/{state}/{key:path}", keyed.remove),
    ("GET", "/v1/dead-letters", dead_letters.listing),
    ("POST", "/v1/dead-letters", dead_letters.redrive),
    ("GET", "/v1/dead-letters/{id}", dead_letters.show),
    ("GET", "/hooks/{path:path}", deliver),
    ("POST", "/hooks/{path:path}", deliver),
    ("POST", "/callback/{token}", callbacks.complete),
    ("POST", "/callback/{token}/fail", callbacks.fail),
    ("POST", "/callback/{token}/heartbeat", callbacks.heartbeat),
    ("GET", "/v1/approvals", approvals.listing),
    ("POST", "/v1/links", approvals.link),
    ("GET", "/approve/{token}", approving.show),
    ("POST", "/approve/{token}", approving.decide),
    ("GET", "/stream/{token}", streams.by_link),
    ("GET", "/stream/{token}/result", streams.result_by_link),
    ("POST", "/v1/echo", doctor.echo),
    ("POST", "/v1/doctor", doctor.examine),
    ("POST", "/v1/probe", probing.probe),
    ("POST", "/v1/sweep", internal.sweep),
)


def create_app(
    engine: Engine,
    secret: Secret,
    *,
    tokens: Sequence[str] = (),
    grace: float = 5.0,
    sweep: bool = True,
    limit: int = LIMIT,
    limits: Limits = LIMITS,
    clock: Clock | None = None,
    development: bool = False,
    cors: Sequence[str] = (),
    identity: IdentitySettings | None = None,
    streams: bool = True,
    platform: str = "container",
) -> Starlette:
    """The app that serves `engine`, which it opens when it starts and closes when it ends.

    `tokens` are the server's own bearer tokens; by default, the one that is derived from `secret`.
    API tokens are in the engine's store. `grace`: seconds that work under way may go on at the end.
    `limit`: the largest body, in bytes; `limits`: of the load. `development`: a webhook whose
    secret is missing is shut; else it is a `ConfigError`. `cors`: the origins whose pages may read
    streams by links. `identity`: whom it believes who somebody is, besides its tokens. `streams`:
    whether what is sent of an answer arrives before the answer is whole. `platform`: where it runs.
    """
    clock, keys = clock or SystemClock(), Keys(secret, tokens)
    people = People(identity or IdentitySettings(), clock)
    hooks = _hooks(engine, development=development)
    parts = _parts(engine, keys, clock, people, Load(engine, limits), limit, hooks)
    parts.streams, parts.platform = streams, platform

    app = Starlette(
        routes=[_route(verb, path, each) for verb, path, each in ROUTES],
        middleware=_middleware(parts, cors),
        exception_handlers=HANDLERS,
        lifespan=_lifespan(parts, sweep=sweep, grace=grace),
    )
    # A redirect would lead to where the client's Host header says.
    app.router.redirect_slashes = False
    app.state.parts = parts
    app.state.routes, app.state.documents = ROUTES, {}
    return app


def _lifespan(
    parts: Parts, *, sweep: bool, grace: float
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        parts.engine.open(sweep=sweep)
        parts.inbox.open()
        try:
            yield
        finally:
            await _close(parts, grace)

    return lifespan


def _middleware(parts: Parts, cors: Sequence[str]) -> list[Middleware]:
    around = Middleware(StreamCors, origins=cors), Middleware(LinkHeaders)
    return [*around, Middleware(Gate, parts=parts)]


def _parts(
    engine: Engine,
    keys: Keys,
    clock: Clock,
    people: People,
    load: Load,
    limit: int,
    hooks: dict[str, Hook],
) -> Parts:
    store = engine.services.store
    principals = Principals(keys, store.tokens, clock, people.oidc)
    auditor, keeper = Auditor(store.audit, clock), Keeper(store.deliveries, clock)
    inbox = Inbox(engine.handle, clock, first=engine.settings.pauses)
    views = ViewCounter(store.seen, clock)
    made = (engine, keys, inbox, clock, principals, auditor, keeper, load)
    return Parts(*made, limit, hooks, people=people, views=views, ticks=Ticks(clock))


def _hooks(engine: Engine, *, development: bool) -> dict[str, Hook]:
    webhooks = [(each, workflow.name) for each, workflow in engine.app.webhooks.values()]
    return hooks_of(webhooks, os.environ, development=development)


class _Whole(PathConvertor):
    """The rest of a path, also of several lines, which Starlette's own does not match."""

    regex = "(?s:.*)"


register_url_convertor("whole", _Whole())


def _route(verb: str, path: str, endpoint: Endpoint) -> Route:
    # A probe may say in its query what it likes.
    is_asked = path.startswith(("/v1/", "/openapi.json"))
    checked = with_known_query(endpoint) if is_asked else endpoint
    if is_asked:
        checked = with_tag(checked) if verb == "GET" else not_too_early(checked)
    matched = path.replace(":path}", ":whole}")
    return Route(matched, admitted(needs_of(verb, path), checked), methods=[verb])


async def _close(parts: Parts, grace: float) -> None:
    parts.closing.set()
    parts.ticks.close()
    await parts.auditor.close()
    await parts.keeper.close()
    await parts.views.close()
    await parts.principals.close()
    await parts.people.close()
    await parts.engine.close(grace)
    await parts.inbox.close()


@asynccontextmanager
async def running(app: Starlette) -> AsyncIterator[None]:
    """Let the app run within the block, as its lifespan does where it is served by itself.

    For the lifespan of an app that it is mounted in, which is the only one that servers run.
    """
    async with app.router.lifespan_context(app):
        yield


async def rest(app: Starlette, seconds: float) -> None:
    """Let nothing be held or left to send, within so many seconds: the process may stand still."""
    parts: Parts = app.state.parts
    await parts.engine.rest(seconds)
    beside = parts.auditor.rest(), parts.keeper.close(), parts.principals.close()
    await asyncio.gather(parts.views.rest(), *beside)


def begin_closing(app: Starlette) -> None:
    """Let waiting requests return, and take no more work: the server is about to end."""
    parts: Parts = app.state.parts
    parts.closing.set()


def told_to_end(app: Starlette, grace: float) -> None:
    """Let the process end although its event loop may be blocked for longer than `grace` seconds.

    For a signal handler.
    """
    parts: Parts = app.state.parts
    parts.engine.told_to_end(grace, 0)
