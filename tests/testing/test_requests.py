"""`request` of an environment: what others than its client send to the server."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import pytest

from rewake.errors import ServerUnavailable, UsageError
from rewake.testing import AsyncEnvironment, Environment
from tests.testing import hooked

SECRET, PUSH = "of-github", {"after": "c0ffee"}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_SECRET", SECRET)


def signed(body: str, event: str = "push") -> dict[str, str]:
    """The headers of a delivery of GitHub's."""
    signature = hmac.new(SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": hashlib.sha256(body.encode()).hexdigest()[:8],
        "X-Hub-Signature-256": f"sha256={signature}",
    }


def test_a_webhook_starts_a_run_that_a_link_and_a_callback_carry_on() -> None:
    """All that users' tests need of the outside: a delivery, an approval by link, a call back."""
    body = json.dumps(PUSH)
    with Environment(hooked) as server:
        mails, begun = server.fake(hooked.mail, lambda link: None), server.fake(hooked.begin)
        got = server.request("POST", "/hooks/push", content=body, headers=signed(body))
        assert got.status == 202
        again = server.request("post", "/hooks/push", content=body, headers=signed(body))
        assert (again.status, again.json()["id"]) == (202, got.json()["id"])

        link = mails[0]["link"]
        page = server.request("GET", link)
        assert page.headers["content-type"].startswith("text/html")
        assert "boss" in page.text
        assert server.request("POST", link, json={"approved": True}).status == 200
        assert server.request("POST", begun[0]["url"], json="done").status == 200
        assert server.result(got.json()["id"]) == "c0ffee is done"


def test_what_is_not_signed_starts_nothing() -> None:
    """A request has no token, and no signature, unless it is given one."""
    with Environment(hooked) as server:
        assert server.request("POST", "/hooks/push", json=PUSH).status == 401
        assert server.request("GET", "/v1/runs").status == 401
        body = json.dumps(PUSH)
        other = server.request("POST", "/hooks/push", content=body, headers=signed(body, "issues"))
        assert (other.status, other.content) == (204, b"")
        assert list(server.list()) == []


def test_a_sender_that_waits_lets_time_pass() -> None:
    """`?wait=` of a webhook ends in the environment's time, not in the test's."""
    body = json.dumps(PUSH)
    with Environment(hooked) as server:
        began = server.now
        got = server.request("POST", "/hooks/push?wait=20", content=body, headers=signed(body))
        assert got.status == 202
        assert (server.now - began).total_seconds() == 20


@pytest.mark.parametrize(
    ("url", "bodies", "told"),
    [
        ("https://elsewhere.example/hooks/push", {}, "neither a path"),
        ("hooks/push", {}, "neither a path"),
        ("/hooks/push", {"json": {}, "content": "x"}, "one body"),
        ("/hooks/push", {"json": {}, "form": {}}, "one body"),
    ],
)
def test_what_cannot_be_sent_is_refused(url: str, bodies: dict[str, Any], told: str) -> None:
    """A request goes to this server, and has one body."""
    with Environment(hooked) as server, pytest.raises(UsageError, match=told):
        server.request("POST", url, **bodies)


def test_a_process_that_dies_gives_no_answer() -> None:
    """Then the sender sends it again, as providers do, and there is one run."""
    body = json.dumps(PUSH)
    with Environment(hooked) as server:
        server.crash(after=1)
        with pytest.raises(ServerUnavailable):
            server.request("POST", "/hooks/push", content=body, headers=signed(body))
        again = server.request("POST", "/hooks/push", content=body, headers=signed(body))
        assert [run["id"] for run in server.list()] == [again.json()["id"]]


def test_a_coroutine_sends_too() -> None:
    """`AsyncEnvironment` has the same, beside what else its test awaits."""

    async def main() -> None:
        async with AsyncEnvironment(hooked) as server:
            sent = []
            for commit in ("one", "two"):
                body = json.dumps({"after": commit})
                sent.append(
                    server.request("POST", "/hooks/push", content=body, headers=signed(body))
                )
            got = await asyncio.gather(*sent)
            assert [each.status for each in got] == [202, 202]

    asyncio.run(main())


def test_a_start_says_where_its_options_are_said() -> None:
    """An option among the arguments, and an argument among the options, are told apart."""
    with Environment(hooked) as server:
        with pytest.raises(TypeError, match=r"said before: with_options\(id=…\)"):
            server.start(hooked.deploy, "c0ffee", id="one")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="'commit' is no option of a start"):
            server.start("deploy", commit="c0ffee")  # type: ignore[call-overload]


def test_time_goes_on_by_a_century_at_most() -> None:
    """Timers are armed no further ahead, and a number of milliseconds is soon more."""
    with Environment(hooked) as server, pytest.raises(UsageError, match="a hundred years"):
        server.advance(10**11)
