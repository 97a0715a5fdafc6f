"""How a client asks: what is sent again, when, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake import AsyncClient, Client
from rewake.client.answers import ERRORS, Answer, Lost
from rewake.errors import (
    ConfigError,
    InsufficientScope,
    InvalidInput,
    NotYet,
    Overloaded,
    RewakeError,
    RunConflict,
    RunNotFound,
    ServerUnavailable,
    StoreFull,
    StuckError,
    TaskError,
    Unauthentic,
    UsageError,
)
from rewake.http.problems import PROBLEMS
from rewake.testing.loop import VirtualLoop
from tests.client.transport import URL, Scripted, answer, problem

REFUSED = Lost("Connection refused", sent=False)
RESET = Lost("Connection reset by peer")
STARTED = answer(202, {"id": "r", "state": "ready"})
RUN = answer(200, {"id": "r", "workflow": "main", "state": "done"})
BUSY = problem(503, "overloaded")._replace(headers={"retry-after": "3"})
BAD_GATEWAY = Answer(502, {"content-type": "text/html"}, b"<html><h1>502 Bad Gateway</h1>")


def at_once(work: Callable[[], Awaitable[Any]]) -> Any:
    """Do this in virtual time."""
    loop = VirtualLoop()

    async def main() -> Any:
        return await work()

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def failing(work: Callable[[], Awaitable[Any]]) -> RewakeError:
    """How this fails."""
    with pytest.raises(RewakeError) as caught:
        at_once(work)
    return caught.value


def test_every_problem_is_the_error_that_the_server_met() -> None:
    """The table of a client is that of the server the other way round."""
    assert {row.name: error for error, row in PROBLEMS.items()} == ERRORS


@pytest.mark.parametrize("name", ERRORS)
def test_a_problem_is_raised_as_its_error(name: str) -> None:
    """Each has the detail of the problem, and the attributes that it tells of."""
    row = next(row for row in PROBLEMS.values() if row.name == name)
    more = {"detail": "so it is", "field": "urls[0]", "run": "r2", "scope": "read"}
    script = Scripted(problem(row.status, name, **more))
    error = failing(lambda: script.client(patience=0).get("r"))
    assert type(error) is ERRORS[name]
    if not isinstance(error, Unauthentic):
        assert "so it is" in str(error)
    for attribute in ("field", "run", "scope"):
        assert getattr(error, attribute, more[attribute]) == more[attribute]


@pytest.mark.parametrize(
    ("got", "error", "told"),
    [
        (problem(401), Unauthentic, "does not accept this token"),
        (problem(400, detail="the body is not JSON"), UsageError, "the body is not JSON"),
        (problem(404), UsageError, "It is so"),
        (problem(413), UsageError, "It is so"),
        (problem(425), Overloaded, "It is so"),
        (problem(429), Overloaded, "It is so"),
        (problem(500), ServerUnavailable, f"{URL} failed"),
        (BAD_GATEWAY, ServerUnavailable, "cannot reach it (status 502)"),
        (BAD_GATEWAY._replace(status=429), Overloaded, "takes no more now"),
        (BAD_GATEWAY._replace(status=200), ServerUnavailable, "is not a Rewake server"),
        (BAD_GATEWAY._replace(status=302), ServerUnavailable, "is not a Rewake server"),
        (answer(403, ["no", "problem"]), UsageError, "status 403"),
        (Answer(200, {}, b"[" * 100_000), ServerUnavailable, "is not a Rewake server"),
        (Answer(200, {}, b"\xff"), ServerUnavailable, "is not a Rewake server"),
        (REFUSED, ServerUnavailable, f"cannot reach {URL}: Connection refused"),
        (RESET, ServerUnavailable, f"there is no answer from {URL}"),
    ],
)
def test_any_other_answer_is_an_error_too(
    got: Answer | Lost, error: type[RewakeError], told: str
) -> None:
    """What a proxy, another server or nobody answers says whose fault it is; of a page that is no
    JSON nothing is repeated.
    """
    found = failing(lambda: Scripted(got).client(patience=0).get("r"))
    assert type(found) is error
    assert told in str(found)
    assert "<" not in str(found)


@pytest.mark.parametrize("trouble", [REFUSED, RESET, BUSY, BAD_GATEWAY, problem(429)])
def test_what_only_reads_is_asked_again(trouble: Answer | Lost) -> None:
    """A server that is away or has no room is asked until it answers."""
    script = Scripted(trouble, trouble, RUN)
    assert at_once(lambda: script.client().get("r"))["state"] == "done"
    assert len(script.asked) == 3


def test_a_start_is_asked_again_for_the_same_run() -> None:
    """Without an id or a key a start is given an id by the client, the same for each try."""
    script = Scripted(RESET, REFUSED, STARTED)
    run = at_once(lambda: script.client().start("main", {"urls": []}))
    assert (run.id, run.is_new) == ("r", True)
    ids = {ask.query["id"] for ask in script.asked}
    assert len(ids) == 1
    assert len(str(ids.pop())) == 32
    other = Scripted(STARTED)
    at_once(lambda: other.client().start("main"))
    assert other.asked[0].query["id"] != script.asked[0].query["id"]


@pytest.mark.parametrize(
    ("options", "tries"),
    [
        ({"key": "k"}, 2),
        ({"id": "r"}, 2),
        ({"key": "k", "if_finished": "attach", "if_running": "attach"}, 2),
        ({"key": "k", "if_finished": "restart"}, 1),
        ({"key": "k", "if_finished": "reject"}, 1),
        ({"id": "r", "if_running": "reject"}, 1),
    ],
)
def test_a_start_whose_second_would_mean_another_is_sent_once(options: Any, tries: int) -> None:
    """If the answer got lost, a start that restarts or rejects could meet its own run."""
    script = Scripted(RESET, STARTED)
    client = script.client(patience=5)
    if tries == 2:
        assert at_once(lambda: client.start("main", **options)).id == "r"
    else:
        assert isinstance(failing(lambda: client.start("main", **options)), ServerUnavailable)
    assert len(script.asked) == tries


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.cancel("r"),
        lambda client: client.kill("r"),
        lambda client: client.retry("r"),
        lambda client: client.resume("r"),
        lambda client: client.approve("r", "pay", {"amount": 3}),
        lambda client: client.reject("r", "pay"),
        lambda client: client.delegate("r", "pay", "bob"),
    ],
)
def test_what_acts_is_sent_again_only_if_nothing_was_done(act: Any) -> None:
    """A cancellation, a decision and the like are not repeated after an answer that got lost."""
    script = Scripted(REFUSED, BUSY, RUN)
    assert at_once(lambda: act(script.client()))["id"] == "r"
    for trouble in (RESET, BAD_GATEWAY, problem(503, "store-unavailable")):
        script = Scripted(trouble, RUN)
        failing(lambda: act(script.client()))  # noqa: B023 - it is called here
        assert len(script.asked) == 1


@pytest.mark.parametrize("trouble", [problem(500), problem(507, "store-full"), problem(404)])
def test_what_will_not_get_better_is_not_asked_again(trouble: Answer) -> None:
    """A failure of the server itself, a full disk and a refusal are told at once."""
    script = Scripted(trouble)
    failing(lambda: script.client().get("r"))
    assert script.times == [0.0]


def test_patience_has_an_end_and_pauses_grow() -> None:
    """It waits longer each time, a few seconds at most, and gives up in time."""
    script = Scripted(REFUSED)
    failing(lambda: script.client(patience=60).get("r"))
    pauses = [b - a for a, b in zip(script.times, script.times[1:], strict=False)]
    assert script.times[-1] <= 60
    assert len(script.times) < 25
    assert pauses[0] <= 0.2
    assert max(pauses) <= 8
    assert pauses[-1] >= 4


def test_the_server_says_when_to_come_again() -> None:
    """`Retry-After` is waited for, and not taken for longer than patience; a date, nonsense and
    infinity are passed over.
    """
    script = Scripted(BUSY, RUN)
    at_once(lambda: script.client().get("r"))
    assert 3.1 <= script.times[1] <= 3.2
    late = Scripted(BUSY._replace(headers={"retry-after": "300"}), RUN)
    at_once(lambda: late.client(patience=1000).get("r"))
    assert late.times[1] >= 300
    impatient = Scripted(BUSY, RUN)
    assert isinstance(failing(lambda: impatient.client(patience=2).get("r")), Overloaded)
    for odd in ("Wed, 21 Oct 2026 07:28:00 GMT", "soon", "inf", "nan", "-5", ""):
        script = Scripted(BUSY._replace(headers={"retry-after": odd}), RUN)
        at_once(lambda: script.client().get("r"))  # noqa: B023
        assert script.times[1] <= 0.2


def test_a_result_is_waited_for_with_long_polls() -> None:
    """Each asks the server to wait, the next one follows at once, until the run has ended."""
    pending = answer(202, {"id": "r", "state": "suspended"})
    ended = answer(200, {"id": "r", "state": "done", "result": [1]})
    script = Scripted(30.0, pending, 30.0, pending, 5.0, RESET, 3.0, ended)
    assert at_once(lambda: script.client().result("r")) == [1]
    assert [ask.wait for ask in script.asked] == [30, 30, 30, 30]
    assert script.addresses[0] == f"{URL}/v1/runs/r/result?wait=30.0"


def test_a_wait_ends_in_time() -> None:
    """After so many seconds it is said where the run stands; a server that is away lasts no
    longer.
    """
    pending = answer(202, {"id": "r", "state": "suspended"})
    script = Scripted(30.0, pending, 10.0, pending)
    error = failing(lambda: script.client().result("r", wait=40))
    assert isinstance(error, NotYet)
    assert str(error) == "run r has not ended: it is suspended"
    assert [ask.wait for ask in script.asked] == [30, 10]
    away = Scripted(REFUSED)
    assert isinstance(failing(lambda: away.client().result("r", wait=2)), ServerUnavailable)
    assert away.times[-1] <= 2
    once = Scripted(pending)
    failing(lambda: once.client().result("r", wait=0))
    assert once.addresses == [f"{URL}/v1/runs/r/result"]


def test_a_server_that_answers_too_soon_is_not_asked_without_a_pause() -> None:
    """A server that closes answers long polls at once: a client does not spin meanwhile."""
    pending = answer(202, {"id": "r", "state": "suspended"})
    script = Scripted(pending)
    failing(lambda: script.client().result("r", wait=10))
    assert len(script.asked) <= 12
    page = answer(200, {"items": [], "cursor": "c", "ended": False})
    script = Scripted(*[page] * 10, answer(200, {"items": [], "cursor": "c", "ended": True}))

    async def watch() -> None:
        assert [each async for each in script.client().watch("r")] == []

    at_once(watch)
    assert script.times[-1] >= 10


def test_a_stream_goes_on_by_its_cursor() -> None:
    """What was told is not asked for again, also after the server was away."""
    first = answer(200, {"items": [{"n": 1}, {"n": 2}], "cursor": "c2", "ended": False})
    last = answer(200, {"items": [{"n": 3}], "cursor": "c3", "ended": True})
    script = Scripted(first, RESET, REFUSED, BAD_GATEWAY, last)

    async def watch() -> list[int]:
        told = script.client().watch("r", only=["item", "state"])
        return [each["n"] async for each in told]

    assert at_once(watch) == [1, 2, 3]
    assert [ask.query["cursor"] for ask in script.asked] == [None, "c2", "c2", "c2", "c2"]
    assert "only=item%2Cstate" in script.addresses[0]


def test_a_run_that_failed_or_is_stuck_raises() -> None:
    """A failure is the `TaskError` that the server tells of, whole; a stuck run a `StuckError`."""
    told = {"type": "ValueError", "message": "no", "traceback": "File …", "attempts": 2}
    script = Scripted(answer(200, {"id": "r", "state": "failed", "error": told}))
    error = failing(lambda: script.client().result("r"))
    assert isinstance(error, TaskError)
    assert (error.type, error.message, error.attempts) == ("ValueError", "no", 2)
    assert error.traceback == "File …"
    stuck = Scripted(problem(409, "stuck", detail="it differs"))
    assert isinstance(failing(lambda: stuck.client().result("r")), StuckError)


def test_a_place_is_only_where_it_should_be() -> None:
    """An id becomes one part of a path, whatever is in it; one that would lead elsewhere is
    refused.
    """
    script = Scripted(RUN)
    at_once(lambda: script.client().get("a/../b?c#d e%2F"))
    assert script.addresses == [f"{URL}/v1/runs/a%2F..%2Fb%3Fc%23d%20e%252F"]
    for odd in ("", ".", "..", "\udcff"):
        assert isinstance(failing(lambda: script.client().get(odd)), InvalidInput)  # noqa: B023
    assert len(script.asked) == 1
    run: Any = at_once(lambda: script.client().start("main", {}))
    told = failing(lambda: script.client().update(run, "address", "x"))
    assert str(told).endswith("Run is no text; of a run, give its `id`")
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("detail", "field", "told"),
    [
        ("order: Object missing required field `total`", "order.total", "Object missing required"),
        ("lines[0]: no sku", "lines[0].sku", "no sku"),
        ("no order", "order.total", "no order"),
        ("ord: x", "order.total", "ord: x"),
    ],
)
def test_a_place_is_said_once(detail: str, field: str, told: str) -> None:
    """The message of a refusal begins with the place, and not with what is around it as well."""
    script = Scripted(problem(422, detail=detail, field=field))
    error = failing(lambda: script.client().start("main", {}))
    assert str(error).startswith(f"{field}: {told}")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "NaN"),
        ([{"deep": float("inf")}], "NaN"),
        ("\udcff", r"'\udcff' is no text in UTF-8"),
        (object(), "object is no data"),
        ({1: {2: lambda: 1}}, "is no data"),
    ],
)
def test_what_is_no_json_is_refused_before_it_is_sent(value: object, told: str) -> None:
    """Nothing becomes null, or another thing, on its way."""
    script = Scripted(STARTED)
    error = failing(lambda: script.client().start("main", {"value": value}))
    assert isinstance(error, UsageError)
    assert told in str(error)
    assert script.asked == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"if_finished": "restart"}, "give one"),
        ({"key": "a\nHost: evil"}, "one line of text"),
        ({"key": " a"}, "without spaces around it"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: Any, told: str) -> None:
    """They are refused before anything is sent."""
    script = Scripted(STARTED)
    assert told in str(failing(lambda: script.client().start("main", **options)))
    assert script.asked == []


def test_a_token_goes_to_the_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback is called without it; the address of one is in no error, nor in a repr."""
    address = "https://app.example/below/callback/secret.token"
    script = Scripted(answer(200, {"state": "completed"}), problem(410, "gone", detail="over"))
    client = script.client(patience=0)
    assert at_once(lambda: client.complete(address, {"ok": True}))["state"] == "completed"
    assert "Authorization" not in script.headers[0]
    assert script.addresses == [address]
    assert "over" in str(failing(lambda: client.fail(address, "Declined")))
    for trouble in (RESET, REFUSED, problem(401), problem(500), BAD_GATEWAY):
        told = str(failing(lambda: Scripted(trouble).client(patience=0).heartbeat(address)))  # noqa: B023
        assert "/callback/***" in told
        assert "secret.token" not in told
    assert "token" not in repr(client) + repr(script.asked)
    for odd in ("nonsense", "https://u:p@app.example/callback/x", "https://app.example/v1/runs"):
        assert isinstance(failing(lambda: client.complete(odd)), UsageError)  # noqa: B023
    assert client.url not in script.addresses
    monkeypatch.delenv("REWAKE_TOKEN", raising=False)


@pytest.mark.parametrize("token", ["a b", "a\r\nHost: evil", "tökén"])
def test_a_token_that_is_none(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at once, and not repeated; without any it is said where to set it."""
    for kind in (AsyncClient, Client):
        with pytest.raises(ConfigError) as caught:
            kind(URL, token)
        assert token not in str(caught.value)
    monkeypatch.delenv("REWAKE_TOKEN", raising=False)
    client = AsyncClient(URL, transport=Scripted(RUN))
    assert "REWAKE_TOKEN" in str(failing(lambda: client.get("r")))


def test_the_server_and_the_token_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`REWAKE_SERVER` and `REWAKE_TOKEN` are what is not given; a URL with a password is refused
    and not repeated.
    """
    monkeypatch.setenv("REWAKE_SERVER", "https://runs.example/below/")
    monkeypatch.setenv("REWAKE_TOKEN", "one-token-of-many, another")
    script = Scripted(RUN)
    client = AsyncClient(transport=script)
    at_once(lambda: client.get("r"))
    assert script.addresses == ["https://runs.example/below/v1/runs/r"]
    assert script.headers[0]["Authorization"] == "Bearer one-token-of-many"
    assert repr(Client()) == "<Client of https://runs.example/below>"
    for url in ("https://u:hunter2@runs.example", "runs.example", "ftp://runs.example"):
        with pytest.raises(ConfigError) as caught:
            Client(url)
        assert "hunter2" not in str(caught.value)


def test_attributes_say_more() -> None:
    """A conflict names the run that is there, a refusal the scope, bad input the field."""
    there = Scripted(problem(409, "conflict", detail="it is there", run="r1"))
    error = failing(lambda: there.client().start("main", id="r1"))
    assert isinstance(error, RunConflict)
    assert error.run == "r1"
    lacking = Scripted(problem(403, "insufficient-scope", detail="no", scope="start"))
    error = failing(lambda: lacking.client().start("main"))
    assert isinstance(error, InsufficientScope)
    assert error.scope == "start"
    odd = Scripted(problem(422, "invalid-input", detail="Expected `int`", field="urls[0]"))
    error = failing(lambda: odd.client().start("main"))
    assert isinstance(error, InvalidInput)
    assert (error.field, str(error)) == ("urls[0]", "urls[0]: Expected `int`")
    for name, kind in (("not-found", RunNotFound), ("store-full", StoreFull)):
        script = Scripted(problem(404, name))
        assert isinstance(failing(lambda: script.client().get("r")), kind)  # noqa: B023


def test_a_client_that_is_interrupted_asks_no_more() -> None:
    """A cancellation while it waits, or between two tries, ends it."""
    for script in (Scripted(1000.0, RUN), Scripted(REFUSED)):

        async def interrupted() -> None:
            work = asyncio.ensure_future(script.client(patience=1e6).get("r"))  # noqa: B023
            await asyncio.sleep(20)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            asked = len(script.asked)  # noqa: B023
            await asyncio.sleep(100)
            assert len(script.asked) == asked  # noqa: B023

        at_once(interrupted)
