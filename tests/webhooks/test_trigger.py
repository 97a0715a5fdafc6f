"""What a webhook can be, and what is refused before a server begins."""

from __future__ import annotations

import asyncio
import pickle
import types
from collections.abc import Callable
from typing import Any

import cloudpickle
import msgspec
import pytest

from rewake import workflow
from rewake.app import App
from rewake.errors import AppError, ConfigError, Unauthentic
from rewake.webhooks import (
    Delivery,
    anyone,
    bearer,
    github,
    shared_hmac,
    slack,
    standard_webhooks,
    stripe,
    webhook,
)
from rewake.webhooks.hooks import Hook, hooks_of


def module_of(*members: object) -> types.ModuleType:
    """A module that holds these."""
    module = types.ModuleType("app")
    for number, each in enumerate(members):
        setattr(module, f"member_{number}", each)
    return module


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "a b", "a?b", "ä", "a\n", "x" * 101, "{a}"],
)
def test_a_path_that_can_be_none(path: str) -> None:
    """A path has plain letters between slashes, so that it is what an address says."""
    with pytest.raises(AppError, match="is no path of a webhook"):
        webhook(path, verify=anyone())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: webhook("a", verify="GITHUB_SECRET"), "say anyone"),  # type: ignore[arg-type]
        (lambda: webhook("a", verify=anyone), "say anyone"),  # type: ignore[arg-type]
        (lambda: webhook("a", verify=None), "say anyone"),  # type: ignore[arg-type]
        (lambda: webhook("a", verify=anyone(), arguments={}), "function"),  # type: ignore[arg-type]
        (lambda: webhook("a", verify=anyone(), key="id"), "function"),  # type: ignore[arg-type]
        (lambda: webhook("a", verify=anyone(), wait=61), "0 to 60"),
        (lambda: github("It's a Secret"), "not for code"),
        (lambda: github(""), "not for code"),
        (lambda: github("whsec_abc"), "not for code"),
        (lambda: github(None), "not for code"),  # type: ignore[arg-type]
        (lambda: bearer("A,,B"), "not for code"),
        (lambda: shared_hmac("S", header="X", algorithm="md5"), "one of sha1, sha256"),
        (lambda: shared_hmac("S", header="X", encoding="utf-8"), "one of hex, base64"),
        (lambda: shared_hmac("S", header="X", signed="x"), r"has \{body\}"),
        (lambda: shared_hmac("S", header="X", signed="{timestamp}.{body}"), r"has \{body\}"),
        (lambda: shared_hmac("S", header="X", signed="{body}{body}"), r"has \{body\}"),
        (lambda: shared_hmac("S", header="X", signed="{body}{other}"), r"has \{body\}"),
        (lambda: shared_hmac("S", header="X", timestamp="T", signed="{body}"), "not signed"),
        (lambda: workflow(webhook="a")(_plain), "webhook="),  # type: ignore[arg-type]
        (lambda: workflow(webhook=[anyone()])(_plain), "webhook="),  # type: ignore[list-item]
    ],
)
def test_what_is_no_webhook(make: Callable[[], Any], told: str) -> None:
    """It is refused where it is written, with what to write instead; a secret is not for code."""
    with pytest.raises(AppError, match=told) as refused:
        make()
    assert not any(text in str(refused.value) for text in ("It's a Secret", "whsec_abc"))


async def _plain() -> None:
    pass


def test_a_path_belongs_to_one_workflow() -> None:
    """Two workflows on one path, or a path twice, are refused when the app is loaded."""
    one = workflow(name="one", webhook=webhook("a/b", verify=anyone()))(_plain)
    two = workflow(name="two", webhook=webhook("a/b", verify=anyone()))(_plain)
    with pytest.raises(AppError, match=r"'a/b' is taken twice \(workflow one and two\)"):
        App(module_of(one, two))
    same = webhook("c", verify=anyone())
    both = [workflow(name=name, webhook=same)(_plain) for name in ("one", "two")]
    with pytest.raises(AppError, match="taken twice"):
        App(module_of(*both))
    twice = [webhook("d", verify=anyone()), webhook("d", verify=anyone())]
    with pytest.raises(AppError, match="taken twice"):
        App(module_of(workflow(webhook=twice)(_plain)))
    app = App(module_of(one, one))  # the same workflow, imported twice
    assert list(app.webhooks) == ["a/b"]


def test_secrets_are_read_when_a_server_begins() -> None:
    """Several variables, and several secrets in one, are all good; each variable must be there."""
    hook = webhook("a", verify=bearer("NEW, OLD"))
    found = hooks_of([(hook, "w")], {"NEW": "three", "OLD": " one , two "})
    assert list(found["a"].secrets.values()) == [[b"three", b"one", b"two"]]
    assert "three" not in repr(found)
    with pytest.raises(ConfigError, match="set OLD"):
        hooks_of([(hook, "w")], {"NEW": "three"})
    standard = webhook("a", verify=standard_webhooks("S"))
    with pytest.raises(ConfigError, match="S cannot be a secret") as refused:
        hooks_of([(standard, "w")], {"S": "not base64!"})
    assert "not base64!" not in str(refused.value)


@pytest.mark.parametrize("found", [None, "", b"", [], [""], [None], 7])
def test_a_function_that_knows_no_secret(found: Any) -> None:
    """Nobody is let in by it, not even who signs with an empty secret; a failing one neither."""
    delivery = Delivery("a", body=b"{}", headers=github("S").sign(b"{}", b"", 0).items())

    async def later(_: Delivery) -> Any:
        return found

    def fails(_: Delivery) -> Any:
        raise KeyError(found)

    for source in (lambda _: found, later, fails):
        hook = Hook(webhook("a", verify=github(source)), "w", {})
        with pytest.raises(Unauthentic, match=r"knows none|fails"):
            asyncio.run(hook.verify(delivery, 0))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'"x"', b"null", b"{", b'{"team": {}}', b'{"team": "x"}']
)
def test_a_function_that_cannot_read_a_delivery(body: bytes) -> None:
    """Whatever is sent to it nobody is let in, and nothing has failed: it is not verified yet."""

    def strictly(delivery: Delivery) -> str:
        return msgspec.convert(delivery.json, dict[str, int])["team"].to_bytes(1, "big").hex()

    def checked(delivery: Delivery) -> str:
        assert isinstance(delivery.json, str)
        return str(1 // len(delivery.json.strip("x")))

    for source in (lambda each: each.json.get("team").strip("x"), strictly, checked):
        hook = Hook(webhook("a", verify=github(source)), "w", {})
        with pytest.raises(Unauthentic):
            asyncio.run(hook.verify(Delivery("a", body=body), 0))


def test_what_a_function_asks_may_be_down() -> None:
    """It is no refusal if the function cannot know: the sender is to come again."""

    def down(_: Delivery) -> str:
        raise ConnectionError("down")

    hook = Hook(webhook("a", verify=github(down)), "w", {})
    with pytest.raises(ConnectionError):
        asyncio.run(hook.verify(Delivery("a"), 0))


@pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), 0, -1, 10**9, None, "300"])
def test_a_tolerance_that_is_none(tolerance: Any) -> None:
    """What would let any time pass, or none, is refused: nobody would see it until it is used."""
    made: list[Callable[[], object]] = [
        lambda: stripe("S", tolerance=tolerance),
        lambda: slack("S", tolerance=tolerance),
        lambda: standard_webhooks("S", tolerance=tolerance),
        lambda: shared_hmac("S", header="X-S", timestamp="X-T", tolerance=tolerance),
    ]
    for make in made:
        with pytest.raises(AppError, match="tolerance"):
            make()


def test_a_webhook_changes_no_workflow() -> None:
    """It is called, and copied to another process, as one without."""
    hooked = workflow(name="hooked", webhook=webhook("a", verify=anyone()))(_plain)
    assert pickle.loads(cloudpickle.dumps(hooked)).name == "hooked"
