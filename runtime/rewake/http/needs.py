"""What each route needs: the one table of who may do what over HTTP.

A route that is not here cannot be served (`needs_of`), so one that is added is closed until it is
said who may use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from starlette.routing import compile_path

from rewake.access import Scope


class Need(NamedTuple):
    """What a request needs, and what it is called in the audit log.

    `acts`: it does something, so that it stands in the audit log also when it is not refused.
    `free`: it needs no token, for the route is open, or checks by itself who may call.
    `of_tenants`: it shows and does nothing of other tenants than that of who asks.
    """

    scope: Scope
    action: str
    acts: bool = False
    free: bool = False
    of_tenants: bool = False


NEEDS: Mapping[tuple[str, str], Need] = {
    ("GET", "/healthz"): Need(Scope.READ, "health", free=True),
    ("GET", "/readyz"): Need(Scope.READ, "ready", free=True),
    ("GET", "/openapi.json"): Need(Scope.READ, "contract.get"),
    ("GET", "/v1/limits"): Need(Scope.READ, "limit.list"),
    ("GET", "/v1/overdue"): Need(Scope.READ, "run.overdue"),
    ("GET", "/v1/cache"): Need(Scope.READ, "cache.list"),
    ("POST", "/v1/cache/clear"): Need(Scope.OPERATE, "cache.clear", acts=True),
    ("GET", "/v1/workflows"): Need(Scope.READ, "workflow.list"),
    ("GET", "/v1/workflows/{name}"): Need(Scope.READ, "workflow.get"),
    ("POST", "/v1/workflows/{name}/runs"): Need(Scope.START, "run.start", acts=True),
    ("GET", "/v1/events/{event}"): Need(Scope.READ, "event.list"),
    ("POST", "/v1/events/{event}"): Need(Scope.START, "event.publish", acts=True),
    ("GET", "/v1/runs"): Need(Scope.READ, "run.list"),
    ("GET", "/v1/stats/runs"): Need(Scope.READ, "run.count"),
    ("GET", "/v1/runs/{run}"): Need(Scope.READ, "run.get"),
    ("GET", "/v1/runs/{run}/result"): Need(Scope.READ, "run.result"),
    ("GET", "/v1/runs/{run}/history"): Need(Scope.READ, "run.history"),
    ("GET", "/v1/runs/{run}/operations"): Need(Scope.READ, "run.operations"),
    ("GET", "/v1/runs/{run}/operations/{key:path}"): Need(Scope.READ, "run.operation"),
    ("GET", "/v1/runs/{run}/logs"): Need(Scope.READ, "run.logs"),
    ("GET", "/v1/runs/{run}/stream"): Need(Scope.READ, "run.stream"),
    ("POST", "/v1/runs/{run}/links"): Need(Scope.READ, "stream.link", acts=True),
    ("POST", "/v1/runs/{run}/cancel"): Need(Scope.OPERATE, "run.cancel", acts=True),
    ("POST", "/v1/runs/{run}/kill"): Need(Scope.OPERATE, "run.kill", acts=True),
    ("POST", "/v1/runs/{run}/pause"): Need(Scope.OPERATE, "run.pause", acts=True),
    ("POST", "/v1/runs/{run}/resume"): Need(Scope.OPERATE, "run.resume", acts=True),
    ("POST", "/v1/runs/{run}/retry"): Need(Scope.OPERATE, "run.retry", acts=True),
    ("POST", "/v1/runs/{run}/rerun"): Need(Scope.OPERATE, "run.rerun", acts=True),
    ("POST", "/v1/runs/{run}/fork"): Need(Scope.OPERATE, "run.fork", acts=True),
    ("POST", "/v1/runs/{run}/hold"): Need(Scope.OPERATE, "run.hold", acts=True),
    ("POST", "/v1/runs/{run}/unhold"): Need(Scope.OPERATE, "run.unhold", acts=True),
    ("POST", "/v1/runs/{run}/erase"): Need(Scope.ADMIN, "run.erase", acts=True),
    ("POST", "/v1/purge"): Need(Scope.ADMIN, "run.purge", acts=True),
    ("GET", "/v1/runs/{run}/signals"): Need(Scope.READ, "signal.list"),
    ("GET", "/v1/runs/{run}/signals/{signal}"): Need(Scope.READ, "signal.get"),
    # Who may start runs may tell them what happened since: it is what a program says, not a person.
    ("POST", "/v1/runs/{run}/signals/{signal}"): Need(Scope.START, "signal.send", acts=True),
    ("POST", "/v1/workflows/{name}/signals/{signal}"): Need(Scope.START, "signal.start", acts=True),
    ("GET", "/v1/runs/{run}/approvals/{key:path}"): Need(Scope.READ, "approval.get"),
    ("POST", "/v1/runs/{run}/approvals/{key:path}"): Need(
        Scope.DECIDE, "approval.decide", acts=True
    ),
    ("GET", "/v1/approvals"): Need(Scope.READ, "approval.list"),
    # A link decides as whoever it is for, and so does who may decide.
    ("POST", "/v1/links"): Need(Scope.DECIDE, "approval.link", acts=True),
    ("GET", "/v1/state"): Need(Scope.READ, "state.list"),
    ("GET", "/v1/state/{state}/{key:path}"): Need(Scope.READ, "state.get"),
    ("PUT", "/v1/state/{state}/{key:path}"): Need(Scope.START, "state.write", acts=True),
    ("DELETE", "/v1/state/{state}/{key:path}"): Need(Scope.START, "state.remove", acts=True),
    ("GET", "/v1/schedules"): Need(Scope.READ, "schedule.list"),
    ("POST", "/v1/schedules"): Need(Scope.OPERATE, "schedule.create", acts=True),
    ("GET", "/v1/schedules/{schedule}"): Need(Scope.READ, "schedule.get"),
    ("POST", "/v1/schedules/{schedule}"): Need(Scope.OPERATE, "schedule.change", acts=True),
    ("DELETE", "/v1/schedules/{schedule}"): Need(Scope.OPERATE, "schedule.delete", acts=True),
    ("GET", "/v1/schedules/{schedule}/next"): Need(Scope.READ, "schedule.next"),
    ("POST", "/v1/schedules/{schedule}/pause"): Need(Scope.OPERATE, "schedule.pause", acts=True),
    ("POST", "/v1/schedules/{schedule}/resume"): Need(Scope.OPERATE, "schedule.resume", acts=True),
    ("POST", "/v1/schedules/{schedule}/trigger"): Need(Scope.START, "schedule.trigger", acts=True),
    ("POST", "/v1/schedules/{schedule}/backfill"): Need(
        Scope.OPERATE, "schedule.backfill", acts=True
    ),
    ("GET", "/v1/tokens"): Need(Scope.ADMIN, "token.list"),
    ("POST", "/v1/tokens"): Need(Scope.ADMIN, "token.create", acts=True),
    ("DELETE", "/v1/tokens/{name}"): Need(Scope.ADMIN, "token.revoke", acts=True),
    ("GET", "/v1/audit"): Need(Scope.ADMIN, "audit.list"),
    ("GET", "/v1/deliveries"): Need(Scope.READ, "delivery.list"),
    ("GET", "/v1/deliveries/{id}"): Need(Scope.READ, "delivery.get"),
    ("POST", "/v1/deliveries/{id}/replay"): Need(Scope.OPERATE, "delivery.replay", acts=True),
    # They may be about runs of any workflow, or forged: for nobody who is limited to some.
    ("GET", "/v1/dead-letters"): Need(Scope.ADMIN, "dead-letter.list"),
    ("GET", "/v1/dead-letters/{id}"): Need(Scope.ADMIN, "dead-letter.get"),
    ("POST", "/v1/dead-letters"): Need(Scope.ADMIN, "dead-letter.redrive", acts=True),
    ("POST", "/v1/invoke"): Need(Scope.OPERATE, "invoke", free=True),
    ("POST", "/v1/echo"): Need(Scope.READ, "echo", free=True),
    ("POST", "/v1/doctor"): Need(Scope.ADMIN, "doctor", acts=True),
    ("POST", "/v1/probe"): Need(Scope.ADMIN, "probe"),
    # It does nothing that the sweeps of any server do not do; one each minute would hide the rest.
    ("POST", "/v1/sweep"): Need(Scope.OPERATE, "sweep"),
}

SELF_CHECKED: Mapping[str, Need] = {
    "/hooks/": Need(Scope.START, "hook", acts=True, free=True),
    "/approve/": Need(Scope.DECIDE, "approval.decide", acts=True, free=True),
    "/callback/": Need(Scope.START, "callback", acts=True, free=True),
    "/stream/": Need(Scope.READ, "stream", free=True),
}
"""The same of routes that check by themselves who may call, by what their paths begin with.

Their scope only says beside what they are kept in the audit log: machines are not beside people.
"""


BELOW_OF_TENANTS = ("/v1/schedules", "/v1/state")
"""What the paths of routes begin with that a token of one tenant may use."""
OF_TENANTS = frozenset(
    {
        "/openapi.json",
        "/v1/workflows",
        "/v1/workflows/{name}",
        "/v1/workflows/{name}/runs",
        "/v1/workflows/{name}/signals/{signal}",
        "/v1/runs",
        "/v1/stats/runs",
        "/v1/approvals",
        "/v1/links",
    }
)
"""The routes that a token of one tenant may use, besides those of one run, which are checked."""


def needs_of(method: str, path: str) -> Need:
    """What a route needs."""
    for prefix, need in SELF_CHECKED.items():
        if path.startswith(prefix):
            # A sign of life is no action, and each would have an entry.
            acts = need.acts and method == "POST" and not path.endswith("/heartbeat")
            return need._replace(acts=acts)
    found = NEEDS.get((method, path))
    assert found is not None, f"http/needs.py does not say what {method} {path} needs"
    return found._replace(
        of_tenants="{run}" in path or path.startswith(BELOW_OF_TENANTS) or path in OF_TENANTS
    )


_ROUTES = [(method, compile_path(path)[0], need) for (method, path), need in NEEDS.items()]
_NOWHERE = Need(Scope.READ, "request")


def route_of(method: str, path: str) -> Need:
    """What the route of a request needs that is not let in; of none, what nothing is called."""
    verb = "GET" if method == "HEAD" else method
    found = (need for known, pattern, need in _ROUTES if known == verb and pattern.match(path))
    return next(found, _NOWHERE)
