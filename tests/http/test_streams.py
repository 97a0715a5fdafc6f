"""The stream of a run over HTTP: pages, long polls, events; by a token or by a link."""

from __future__ import annotations

import asyncio
import base64
import logging
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from rewake import emit, sleep, step, workflow
from rewake.errors import ReadableElsewhere, StoreUnavailable, StuckError
from rewake.http import readers
from rewake.http.link_headers import HEADERS
from rewake.http.streams import HEARTBEAT, LONGEST_STREAM
from rewake.signing.links import Link, Links, LinkUse
from rewake.signing.redacting import without_tokens
from rewake.signing.secret import Secret
from tests.support.asgi import URL, Exchange, ask, parts, served
from tests.support.virtual import SECRET, Bench, virtually

EVENTS = {"accept": "text/event-stream"}
log = logging.getLogger("app")


@workflow
async def counts(to: int, pause: float = 1) -> int:
    for number in range(to):
        await emit({"n": number})
        await sleep(pause)
    return to


@workflow
async def secretive() -> str:
    await emit("said")
    await step("fails", lambda: 1)
    return "result"


def items(shown: list[dict[str, Any]]) -> list[Any]:
    return [each["value"] for each in shown if each["type"] == "item"]


def told(exchange: Exchange) -> list[dict[str, Any]]:
    """What the events tell."""
    return [msgspec.json.decode(each["data"]) for each in exchange.events if "data" in each]


def test_a_page_and_a_long_poll() -> None:
    """A page is answered at once; a long poll waits for something new, or for the end."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=3)).run
        await bench.engine.result(run, 0.5)
        there = f"/v1/runs/{run}/stream"
        page = (await ask(app, "GET", there)).json
        assert items(page["items"]) == [{"n": 0}]
        assert not page["ended"]
        again = await ask(app, "GET", f"{there}?cursor={page['cursor']}")
        assert again.json["items"] == []
        assert bench.seconds == pytest.approx(0.5, abs=0.1)
        page = (await ask(app, "GET", f"{there}?cursor={again.json['cursor']}&wait=20")).json
        assert items(page["items"]) == [{"n": 1}]
        assert bench.seconds == pytest.approx(1, abs=0.1)
        seen = []
        while not page["ended"]:
            page = (await ask(app, "GET", f"{there}?cursor={page['cursor']}&wait=20")).json
            seen += page["items"]
        assert items(seen) == [{"n": 2}]
        assert seen[-1]["state"] == "done"
        last = await ask(app, "GET", f"{there}?cursor={page['cursor']}&wait=60")
        assert (last.json["items"], last.json["ended"]) == ([], True)
        assert bench.seconds == pytest.approx(3, abs=0.1)
        whole = (await ask(app, "GET", f"{there}?only=item&limit=2")).json
        rest = (await ask(app, "GET", f"{there}?only=item&cursor={whole['cursor']}")).json
        assert len(whole["items"]) <= 2
        assert items(whole["items"] + rest["items"]) == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert len(whole["items"] + rest["items"]) == 3
        assert rest["ended"]

    virtually([counts], body)


def test_events_come_as_they_are_told_and_end_with_the_run() -> None:
    """Each event has a cursor; comments keep the connection open while nothing happens."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=2, pause=40)).run
        await bench.engine.result(run, 0.5)
        there = f"/v1/runs/{run}/stream"
        exchange = Exchange(app, "GET", there, headers=EVENTS)
        await exchange.begun()
        await asyncio.sleep(0.2)
        assert exchange.status == 200
        assert exchange.headers["content-type"].startswith("text/event-stream")
        assert exchange.headers["cache-control"] == "no-store"
        assert items(told(exchange)) == [{"n": 0}]
        await asyncio.sleep(2 * HEARTBEAT + 1)
        assert exchange.body.count(b"\n: \n") == 2
        await exchange.task
        assert bench.seconds == pytest.approx(80, abs=0.5)
        assert [each["state"] for each in told(exchange) if each["type"] == "state"] == [
            "running",
            "done",
        ]
        assert parts(app).readers._by.total() == 0
        ids = [each["id"] for each in exchange.events if "id" in each]
        for number, last in enumerate(ids, 1):
            rest = await ask(app, "GET", there, headers={**EVENTS, "Last-Event-ID": last})
            assert told(rest) == told(exchange)[number:]
            assert rest.status == (200 if number < len(ids) else 204)

    virtually([counts], body)


def test_a_reader_that_leaves_is_forgotten() -> None:
    """A client that goes away frees its place, also one that left before anything was sent."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=1, pause=900)).run
        for wait in (0.0, 5.0):
            exchange = Exchange(app, "GET", f"/v1/runs/{run}/stream", headers=EVENTS)
            await asyncio.sleep(wait)
            await exchange.leave()
            assert parts(app).readers._by.total() == 0
            assert not bench.engine.services.streams.watchers._events

    virtually([counts], body)


def test_how_many_wait_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound of a server a reader is told 503, beyond that of a link 429, and when to
    ask again; pages that do not wait are answered all the same.
    """
    monkeypatch.setattr(readers, "MOST", 3)
    monkeypatch.setattr(readers, "MOST_BY_LINK", 2)

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=1, pause=900)).run
        url = (await ask(app, "POST", f"/v1/runs/{run}/links")).json["url"].removeprefix(URL)
        opened = []
        cursor = (await ask(app, "GET", url, token=None)).json["cursor"]
        for headers in (EVENTS, {}):
            there = f"{url}?wait=60&cursor={cursor}"
            opened.append(Exchange(app, "GET", there, token=None, headers=headers))
            await asyncio.sleep(1)
        for headers in (EVENTS, {}):
            refused = await ask(app, "GET", f"{url}?wait=9", token=None, headers=headers)
            assert (refused.status, refused.headers["retry-after"]) == (429, "5")
        opened.append(Exchange(app, "GET", f"/v1/runs/{run}/stream", headers=EVENTS))
        await asyncio.sleep(1)
        refused = await ask(app, "GET", f"/v1/runs/{run}/stream", headers=EVENTS)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await ask(app, "GET", f"/v1/runs/{run}/stream")).status == 200
        for each in opened:
            await each.leave()
        assert parts(app).readers._by.total() == 0

    virtually([counts], body, url=URL)


def test_a_server_that_closes_lets_its_readers_go() -> None:
    """Events and long polls end at once; who comes back elsewhere goes on by its cursor."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=1, pause=900)).run
        there = f"/v1/runs/{run}/stream"
        page = (await ask(app, "GET", there)).json
        events = Exchange(app, "GET", there, headers=EVENTS)
        poll = Exchange(app, "GET", f"{there}?cursor={page['cursor']}&wait=60")
        await asyncio.sleep(2)
        parts(app).closing.set()
        await events.task
        await poll.task
        assert poll.json["items"] == []
        assert poll.json["cursor"] == page["cursor"]
        assert bench.seconds < 5

    virtually([counts], body)


def test_events_end_after_a_while() -> None:
    """So who opened them must show a token, or a link, that is still good."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=1, pause=9_000)).run
        exchange = await ask(app, "GET", f"/v1/runs/{run}/stream", headers=EVENTS)
        assert bench.seconds == pytest.approx(LONGEST_STREAM / 1000, abs=1)
        made = (await ask(app, "POST", f"/v1/runs/{run}/links", json={"expires": 60})).json
        url, begun = made["url"].removeprefix(URL), bench.seconds
        by_link = await ask(app, "GET", url, token=None, headers=EVENTS)
        assert items(told(by_link)) == items(told(exchange)) == [{"n": 0}]
        assert bench.seconds - begun == pytest.approx(60, abs=1)
        for more in ("", "/result"):
            assert (await ask(app, "GET", url + more, token=None)).status == 410

    virtually([counts], body, url=URL)


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreUnavailable("away"), 503), (ReadableElsewhere("a key"), 503), (StuckError("cut"), 409)],
)
def test_events_end_where_the_store_fails(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """Or has what cannot be read. Nothing is told twice or passed over for it: their reader goes on
    behind the last one, and is told then.
    """

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("counts", to=3, pause=5)).run
        there = f"/v1/runs/{run}/stream?only=item"
        exchange = Exchange(app, "GET", there, headers=EVENTS)
        await asyncio.sleep(7)

        async def fails(*_: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(bench.engine.services.store, "header", fails)
            await exchange.task
            refused = await ask(app, "GET", there, headers=EVENTS)
            assert (refused.status, refused.headers.get("retry-after") == "1") == (
                status,
                status == 503,
            )
        last = exchange.events[-1]["id"]
        rest = await ask(app, "GET", there, headers={**EVENTS, "Last-Event-ID": last})
        assert items(told(exchange) + told(rest)) == [{"n": 0}, {"n": 1}, {"n": 2}]

    virtually([counts], body)


# --- links -------------------------------------------------------------------------------------


def test_a_link_reads_one_run_and_what_it_was_made_for() -> None:
    """It tells items and states, or what was said; and the result. Nothing else, and no other
    run, and nothing can be done with it.
    """

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("secretive")).run
        await bench.result(run)
        made = (await ask(app, "POST", f"/v1/runs/{run}/links")).json
        assert made["url"].startswith(f"{URL}/stream/")
        assert made["only"] == ["item", "state"]
        url = made["url"].removeprefix(URL)
        page = await ask(app, "GET", url, token=None)
        assert [each["type"] for each in page.json["items"]] == ["state", "item", "state"]
        for name, value in HEADERS.items():
            assert page.headers[name.lower()] == value
        assert (await ask(app, "GET", f"{url}/result", token=None)).json["result"] == "result"
        assert (await ask(app, "GET", f"{url}?only=log", token=None)).status == 403
        assert (await ask(app, "GET", f"{url}?only=item", token=None)).status == 200
        for method, path in (("POST", ""), ("DELETE", ""), ("POST", "/result"), ("PUT", "")):
            assert (await ask(app, method, url + path, token=None)).status == 405
        assert (await ask(app, "GET", f"{url}/cancel", token=None)).status == 404
        assert (await ask(app, "GET", f"/v1/runs/{run}", token=None)).status == 401
        wanted = {"only": ["log", "operation", "item"], "expires": 7}
        made = (await ask(app, "POST", f"/v1/runs/{run}/links", json=wanted)).json
        page = await ask(app, "GET", made["url"].removeprefix(URL), token=None)
        assert {each["type"] for each in page.json["items"]} == {"operation", "item"}

    virtually([secretive], body, url=URL)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"expires": 0}, "expires"),
        ({"expires": 31 * 86_400}, "expires"),
        ({"expires": "1d"}, "expires"),
        ({"only": []}, "only"),
        ({"only": ["everything"]}, "only"),
        ({"run": "other"}, "run"),
    ],
)
def test_links_that_are_not_made(body: dict[str, Any], field: str) -> None:
    """What is wrong with the wish is told by its field."""

    async def work(bench: Bench) -> None:
        run = (await bench.start("secretive")).run
        answer = await ask(served(bench), "POST", f"/v1/runs/{run}/links", json=body)
        assert answer.status == 422
        assert field in answer.json["field"]

    virtually([secretive], work, url=URL)


def test_there_is_no_link_without_an_address_or_a_run() -> None:
    """Without `REWAKE_URL` the answer says so; a run that there is not has no link."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("secretive")).run
        answer = await ask(served(bench), "POST", f"/v1/runs/{run}/links")
        assert answer.status == 409
        assert "REWAKE_URL" in answer.json["detail"]
        assert (await ask(served(bench), "POST", "/v1/runs/none/links")).status == 404

    virtually([secretive], body)


def _link(run: str, **how: Any) -> Link:
    made = {"use": LinkUse.STREAM, "key": "", "round": 0, "holder": "", "action": "item"}
    return Link(run=run, **{**made, "expires": None, "nonce": "0", "signer": SECRET.id, **how})


def test_no_forgery_is_told_from_another() -> None:
    """Truncated, changed, of another use, by another key, of no run: each is the same 404."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("secretive")).run
        await bench.result(run)
        good = Links(SECRET).token(_link(run))
        other = Secret("another secret of another app")
        payload, _, signature = good.partition(".")
        forged = [
            "x",
            ".",
            good[:-2],
            good + "A",
            f"{signature}.{payload}",
            f"{payload}.{signature[::-1]}",
            Links(other).token(_link(run, signer=other.id)),
            Links(SECRET).token(_link(run, use=LinkUse.APPROVE)),
            Links(SECRET).token(_link(run, use=LinkUse.CALLBACK)),
            "%00",
            "x" * 5_000,
        ]
        answers = {
            (answer.status, answer.body)
            for token in forged
            for path in ("", "/result")
            for answer in [await ask(app, "GET", f"/stream/{token}{path}", token=None)]
        }
        assert {status for status, _ in answers} == {404}
        assert len(answers) == 1
        assert (await ask(app, "GET", f"/stream/{good}", token=None)).status == 200
        gone = Links(SECRET).token(_link("no-such-run"))
        assert (await ask(app, "GET", f"/stream/{gone}", token=None)).status == 404

    virtually([secretive], body)


def test_the_token_of_a_link_is_in_no_log() -> None:
    """Whatever a log says of a path, the token of a link is taken out."""
    assert without_tokens("GET /stream/abc.def/result?wait=1") == "GET /stream/***/result?wait=1"


@workflow
async def forges() -> None:
    await emit("\n\nid: x\nevent: state\ndata: {}\n\n\r\n\u2028data: y")


def test_no_item_makes_an_event() -> None:
    """Line ends in what a run emits are escapes of JSON: an item is one event, whatever it says."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("forges")).run
        await bench.result(run)
        there = f"/v1/runs/{run}/stream?only=item"
        exchange = await ask(served(bench), "GET", there, headers=EVENTS)
        [forged] = told(exchange)
        assert forged["value"].startswith("\n\nid: x")
        assert [each.get("event") for each in exchange.events] == [None, "item"]

    virtually([forges], body)


@pytest.mark.parametrize("origins", [(), ("https://app.example",), ("*",)])
def test_pages_of_others_read_only_where_it_is_said(origins: tuple[str, ...]) -> None:
    """By default no page of another origin sees an answer; those named do, by a link alone."""

    async def body(bench: Bench) -> None:
        app = served(bench, cors=origins)
        run = (await bench.start("secretive")).run
        url = (await ask(app, "POST", f"/v1/runs/{run}/links")).json["url"].removeprefix(URL)
        for origin in ("https://app.example", "https://evil.example"):
            allowed = origin in origins or "*" in origins
            for headers in ({}, EVENTS):
                answer = await ask(
                    app, "GET", url, token=None, headers={"origin": origin, **headers}
                )
                assert ("access-control-allow-origin" in answer.headers) == allowed
                assert "access-control-allow-credentials" not in answer.headers
            asked = {
                "origin": origin,
                "access-control-request-method": "GET",
                "access-control-request-headers": "last-event-id",
            }
            preflight = await ask(app, "OPTIONS", url, token=None, headers=asked)
            assert ("access-control-allow-origin" in preflight.headers) == allowed
            there = f"/v1/runs/{run}/stream"
            answer = await ask(app, "GET", there, headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers

    virtually([secretive], body, url=URL)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=x", "cursor"),
        ("cursor=a&cursor=b", "cursor"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=2.5", "limit"),
        ("wait=-1", "wait"),
        ("wait=61", "wait"),
        ("wait=soon", "wait"),
        ("only=", "only"),
        ("only=items", "only"),
        ("only=item,", "only"),
        ("since=1", "since"),
    ],
)
@pytest.mark.parametrize("headers", [{}, EVENTS], ids=["page", "events"])
def test_what_does_not_fit_is_named(query: str, field: str, headers: dict[str, str]) -> None:
    """A query that does not fit is a 422 that names its parameter, by a token and by a link."""

    async def body(bench: Bench) -> None:
        app = served(bench)
        run = (await bench.start("secretive")).run
        url = (await ask(app, "POST", f"/v1/runs/{run}/links")).json["url"].removeprefix(URL)
        for there in (f"/v1/runs/{run}/stream", url):
            answer = await ask(app, "GET", f"{there}?{query}", headers=headers)
            assert (answer.status, answer.json["field"]) == (422, field)

    virtually([secretive], body, url=URL)


def test_what_comes_with_last_event_id_is_checked_too() -> None:
    """It is a cursor, and nothing else; a page takes none."""

    async def body(bench: Bench) -> None:
        app: Starlette = served(bench)
        run = (await bench.start("secretive")).run
        there = f"/v1/runs/{run}/stream"
        answer = await ask(app, "GET", there, headers={**EVENTS, "Last-Event-ID": "<script>"})
        assert (answer.status, answer.json["field"]) == (422, "cursor")
        answer = await ask(app, "HEAD", there, headers=EVENTS)
        assert answer.status == 200

    virtually([secretive], body)


@given(cursor=st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
@settings(max_examples=60, deadline=None)
def test_no_cursor_brings_the_server_down(cursor: bytes) -> None:
    """Whatever is sent as a cursor is a page or a 422."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("secretive")).run
        for text in (cursor.decode("latin-1"), base64.urlsafe_b64encode(cursor).decode()):
            answer = await ask(served(bench), "GET", f"/v1/runs/{run}/stream?cursor={quote(text)}")
            assert answer.status in (200, 422)

    virtually([secretive], body)
