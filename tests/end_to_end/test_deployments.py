"""The same app, by the same scenarios, on every deployment."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.end_to_end import outside
from tests.end_to_end.deployments import DEPLOYMENTS, FURTHER, LIKE_OTHERS, Deployment
from tests.end_to_end.front import PATIENCE
from tests.end_to_end.judge import World, faults
from tests.end_to_end.playing import Play, caller, front_of, under_load
from tests.end_to_end.scenarios import WORD
from tests.support.hooks import SECRETS

PLAYED = [
    pytest.param(name, marks=[pytest.mark.long] if name in FURTHER else []) for name in DEPLOYMENTS
]


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of a server holds."""
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PLAYED)
def test_every_scenario(name: str, tmp_path: Path, whole: bool) -> None:
    """All scenarios come right, in peace, while servers are killed and stand still, and through a
    rolling deploy under load. Nothing that had ended is done again, each outcome is one, a deploy
    repeats nothing at all, and no word of a user is in the database.
    """
    if name in LIKE_OTHERS and not whole:
        pytest.skip("it is played with --whole: another deployment has the most of it")
    with DEPLOYMENTS[name](tmp_path) as deployment, caller(deployment) as client:
        try:
            _peace(deployment, client)
            _harm(deployment, client)
            _deploy(deployment, client)
            assert WORD.encode() not in deployment.stored()
        except BaseException as error:
            error.add_note(deployment.logs())
            raise


def _peace(deployment: Deployment, client: httpx2.Client) -> None:
    """Nothing happens to any server."""
    with Play(deployment, client, calm=True) as play:
        pass
    world, front = World.seen(deployment.outside), front_of(deployment, client)
    assert not list(faults(front, play.runs, world, calm=True))


def _harm(deployment: Deployment, client: httpx2.Client) -> None:
    """One server dies, and another stands still for longer than its lease."""
    paused: set[int] = set()

    def harm() -> None:
        deployment.kill(_at_work(deployment))
        paused.add(_at_work(deployment))
        deployment.pause(*paused)

    with Play(deployment, client, calm=False) as play:
        front = under_load(deployment, client, harm)
    world = World.seen(deployment.outside)
    runs = [*play.runs, *front.runs]
    assert not list(faults(front, runs, world, paused=paused, calm=False))
    again = [each for run in runs for each in world.begun.get(run, []) if _is_again(each)]
    assert again, "nothing was interrupted, so nothing is proved"


def _at_work(deployment: Deployment) -> int:
    """A server that has begun something long, which has not ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        over = {
            (each["run"], each["key"], each["attempt"])
            for what in ("ended", "raised")
            for each in outside.told(deployment.outside, what)
        }
        for each in reversed(outside.told(deployment.outside, "begun")):
            going_on = (each["run"], each["key"], each["attempt"]) not in over
            if each["key"] == "linger" and going_on and _is_alive(each["pid"]):
                pid: int = each["pid"]
                return pid
        time.sleep(0.02)
    raise AssertionError("there is nothing to interrupt")


def _is_alive(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _is_again(begun: Mapping[str, Any]) -> bool:
    """Whether this attempt follows one that was lost, and not one that failed as it should."""
    return begun["attempt"] > 1 and begun["key"] not in {"flaky", "brittle", "crawl"}


def _deploy(deployment: Deployment, client: httpx2.Client) -> None:
    """Each server is replaced in turn, under load."""
    front = under_load(deployment, client, deployment.roll)
    world = World.seen(deployment.outside)
    assert not list(faults(front, front.runs, world, calm=True))
