"""The examples that tell people of approvals, against stand-ins for the services of others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

from examples import approval_by_mail, approval_in_slack, approval_in_teams
from rewake import Approval, Decision
from rewake.engine.outside.approvals import Approvals
from tests.examples.standins import Answer, Mailbox, Service, mail_server
from tests.support.virtual import Bench, virtually

URL = "https://app.example"
YES = Approval(Decision.APPROVED, approver="ann@example.com", comment="Fine.")


async def asked(bench: Bench, **arguments: Any) -> str:
    run = (await bench.start("main", **arguments)).run
    await asyncio.sleep(30)
    return run


async def decided(bench: Bench, run: str) -> str:
    await Approvals(bench.engine).decide(run, "refund", YES)
    return str(await bench.result(run))


# --- e-mail --------------------------------------------------------------------------------------

MAIL = [approval_by_mail.main, approval_by_mail.mail]


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with mail_server() as (mailbox, address):
        monkeypatch.setenv("SMTP", address)
        yield mailbox


def read(mailbox: Mailbox) -> list[EmailMessage]:
    return [message_from_bytes(each, policy=policy.default) for _, each in mailbox.messages]


def test_mail_is_sent_to_each_with_a_link_of_their_own(mailbox: Mailbox) -> None:
    """One thread: the question, reminders, the deputy's question, and what was decided."""

    async def body(bench: Bench) -> None:
        people = {"approvers": ["ann@example.com", "bob@example.com"], "deputies": ["eve@e.com"]}
        run = await asked(bench, order="o1", remind_every="PT1M", **people)
        await asyncio.sleep(140)
        assert await decided(bench, run) == "o1: approved by ann@example.com"
        sent = read(mailbox)
        about = [(each["To"], each["Subject"]) for each in sent]
        both = ("ann@example.com", "bob@example.com")
        assert about == [
            *((who, "Please decide: Refund order o1?") for who in both),
            *((who, "Reminder 1: Refund order o1?") for who in both),
            *((who, "Reminder 2: Refund order o1?") for who in both),
            ("eve@e.com", "Nobody has decided yet: Refund order o1?"),
            *((who, "Decided: Refund order o1?") for who in (*both, "eve@e.com")),
        ]
        links = [text for each in sent[:7] for text in each.get_content().split() if URL in text]
        assert len(links) == 7
        assert (links[0], links[1]) == (links[2], links[3])
        assert len({links[0], links[1], links[6]}) == 3
        assert URL not in sent[-1].get_content()
        assert "approved by ann@example.com. Fine." in sent[-1].get_content()
        assert len({each["References"] for each in sent}) == 1
        assert len({each["Message-ID"] for each in sent}) == len(sent)

    virtually(MAIL, body, url=URL)


def test_mail_that_is_sent_again_has_the_same_id(mailbox: Mailbox) -> None:
    """A server that takes a message and says that it failed makes no second one of it."""
    mailbox.doubts = 2

    async def body(bench: Bench) -> None:
        await asked(bench, order="o1\nBcc: eve@e.com", approvers=["ann@example.com"])
        first, second, third = read(mailbox)
        assert first["Message-ID"] == second["Message-ID"] == third["Message-ID"]
        assert first["Subject"] == "Please decide: Refund order o1 Bcc: eve@e.com?"
        assert {to for to, _ in mailbox.messages} == {"ann@example.com"}

    virtually(MAIL, body, url=URL)


# --- Slack ---------------------------------------------------------------------------------------


class Slack:
    """What people see in their direct messages."""

    def __init__(self) -> None:
        self.messages: dict[str, list[dict[str, Any]]] = {}

    def answer(self, _method: str, path: str, given: dict[str, Any]) -> Answer:
        match path:
            case "/conversations.open":
                return 200, {"ok": True, "channel": {"id": f"D{given['users']}"}}
            case "/chat.postMessage":
                channel = self.messages.setdefault(given["channel"], [])
                channel.append({**given, "ts": f"{len(channel)}.0"})
                return 200, {"ok": True, "channel": given["channel"], "ts": channel[-1]["ts"]}
            case "/chat.update":
                for each in self.messages[given["channel"]]:
                    if each["ts"] == given["ts"]:
                        each.update(given)
                return 200, {"ok": True}
            case "/conversations.history" | "/conversations.replies":
                return 200, {"ok": True, "messages": self.messages.get(given["channel"], [])}
        return 200, {"ok": False, "error": "unknown_method"}


SLACK = [approval_in_slack.main, approval_in_slack.tell]


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Slack, Service]]:
    slack = Slack()
    with Service(slack.answer).serving() as service:
        monkeypatch.setenv("SLACK_API", service.url)
        monkeypatch.setenv("SLACK_TOKEN", "xoxb-1")
        yield slack, service


def test_slack_messages_are_rewritten_after_the_decision(slack: tuple[Slack, Service]) -> None:
    """Each has a link of their own until then; a reminder is a reply to it."""
    workspace, _ = slack

    async def body(bench: Bench) -> None:
        run = await asked(bench, order="<o1>", approvers=["U1", "U2"], remind_every="PT1M")
        [one], [two] = workspace.messages["DU1"], workspace.messages["DU2"]
        buttons = [each["blocks"][1]["elements"][0]["url"] for each in (one, two)]
        assert len(set(buttons)) == 2
        assert one["blocks"][0]["text"] == {"type": "plain_text", "text": "Refund order <o1>?"}
        await asyncio.sleep(60)
        assert workspace.messages["DU1"][1]["thread_ts"] == "0.0"
        assert await decided(bench, run) == "<o1>: approved by ann@example.com"
        assert [len(each) for each in workspace.messages.values()] == [2, 2]
        for first, _ in workspace.messages.values():
            assert first["text"] == "approved by ann@example.com: Refund order <o1>?"
            assert "url" not in str(first["blocks"])

    virtually(SLACK, body, url=URL)


@pytest.mark.parametrize("lost", range(4))
def test_slack_has_one_message_whatever_gets_lost(slack: tuple[Slack, Service], lost: int) -> None:
    """What was done, and was told as failed, is found and not done again; so is what is denied."""
    workspace, service = slack
    troubles: list[int | str] = [429, 500, "lost"]
    service.troubles = [*troubles[:lost], "lost"]

    async def body(bench: Bench) -> None:
        run = await asked(bench, order="o1", approvers=["U1", "U2"])
        assert [len(each) for each in workspace.messages.values()] == [1, 1]
        service.troubles = [*troubles[:lost], "lost"]
        await decided(bench, run)
        texts = {each["text"] for [each] in workspace.messages.values()}
        assert texts == {"approved by ann@example.com: Refund order o1?"}

    virtually(SLACK, body, url=URL)


# --- Teams ---------------------------------------------------------------------------------------


class Teams:
    """The cards of a channel."""

    def __init__(self) -> None:
        self.cards: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, given: dict[str, Any]) -> Answer:
        if path == "/token":
            return 200, {"access_token": "t"}
        where, _, name = path.rpartition("/activities")
        assert where == "/v3/conversations/19%3Achannel"
        name = name.removeprefix("/") if method == "PUT" else f"a{len(self.cards)}"
        self.cards[name] = given["attachments"][0]["content"]
        return 200, {"id": name}


TEAMS = [approval_in_teams.main, approval_in_teams.tell]


@pytest.fixture
def teams(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Teams, Service]]:
    teams = Teams()
    with Service(teams.answer).serving() as service:
        for name, value in (("SERVICE", service.url), ("LOGIN", f"{service.url}/token")):
            monkeypatch.setenv(f"TEAMS_{name}", value)
        for name in ("APP", "SECRET"):
            monkeypatch.setenv(f"TEAMS_{name}", "x")
        monkeypatch.setenv("TEAMS_CHANNEL", "19:channel")
        yield teams, service


def test_teams_cards_are_rewritten_after_the_decision(teams: tuple[Teams, Service]) -> None:
    """The newest one; a busy service is asked again when it says."""
    channel, service = teams
    service.troubles = [429]

    async def body(bench: Bench) -> None:
        run = await asked(bench, order="o1", remind_every="PT1M")
        assert list(channel.cards) == ["a0"]
        [action] = channel.cards["a0"]["actions"]
        assert action["url"].startswith(f"{URL}/approve/")
        await asyncio.sleep(60)
        assert list(channel.cards) == ["a0", "a1"]
        assert await decided(bench, run) == "o1: approved by ann@example.com"
        assert list(channel.cards) == ["a0", "a1"]
        assert "actions" not in channel.cards["a1"]
        assert "approved by ann@example.com" in str(channel.cards["a1"])

    virtually(TEAMS, body, url=URL)


def test_teams_is_not_posted_to_twice(teams: tuple[Teams, Service]) -> None:
    """A post whose answer got lost is not repeated; the next reminder is the next card."""
    channel, service = teams

    async def body(bench: Bench) -> None:
        service.troubles = [503]
        service.troubles.append("lost")  # the token of the second attempt
        await bench.start("main", order="o1", remind_every="PT1M")
        await asyncio.sleep(30)
        assert len(channel.cards) == 0
        await asyncio.sleep(60)
        assert list(channel.cards) == ["a0"]

    virtually(TEAMS, body, url=URL)
