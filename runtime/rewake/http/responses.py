"""What a sender is told by a run: what the run answers; its result; or that it failed."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from rewake.authoring.response import recorded_response
from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.http.parts import Parts, reply
from rewake.http.problems import Problem, problem
from rewake.kinds import OutcomeKind, Purpose
from rewake.records import Header, Outcome
from rewake.values.run_codec import RunCodec
from rewake.views.runs import links, result_view
from rewake.views.values import Values

_SAFE = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # What a run answers must not become a page that acts as one of this server's own.
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
"""Headers of what a run answers, unless it says otherwise."""


async def response_to(parts: Parts, header: Header, more: Mapping[str, str]) -> Response:
    """What a run has answered. Raises `StuckError` if it cannot be read."""
    kept = await parts.engine.services.store.responses.of(header)
    if kept is None:
        raise CheckpointUnreadable(f"what run {header.run!r} answered is missing")
    codec = RunCodec(parts.keys.secret, header.run, sealed=header.digest_key != "")
    found = recorded_response(codec, kept.key, kept.value)
    given = {name.lower() for name, _ in found.headers}
    response = Response(found.body, found.status)
    for name, text in [*found.headers, *more.items()]:
        response.headers.append(name, text)
    for name, text in _SAFE.items():
        if name.lower() not in given:
            response.headers[name] = text
    return response


def ended(outcome: Outcome, parts: Parts, run: str, more: Mapping[str, str]) -> Response:
    """The result, as who may read the run sees it. Why it failed is not for a sender.

    Raises `ReadableElsewhere`: a sender would take for the result what says that it is none.
    """
    values = Values(parts.keys.secret, run, said=True)
    if outcome.kind is OutcomeKind.OK and _is_readable(outcome, values):
        return reply(result_view(outcome, values), headers=more)
    told = f"{links(run).result} says why, to who may read the run"
    found = Problem("The run did not succeed", 500, "urn:rewake:problem:run-failed", told, run=run)
    return problem(found, more)


def _is_readable(outcome: Outcome, values: Values) -> bool:
    try:
        if outcome.value is not None:
            values.read(outcome.value, key="", purpose=Purpose.OUTPUT)
    except ReadableElsewhere:
        raise
    except CheckpointUnreadable:
        return False
    return True
