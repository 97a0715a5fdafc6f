"""The tag of a task: what it may be, and where it stands."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from rewake import step, task
from rewake.errors import ConfigError
from rewake.hosts.config import ServerConfig
from rewake.tags import LONGEST, Served, checked_tag, served
from tests.support.driver import Run

BAD = ["", "GPU", "a b", "-a", "a-", "a--b", "ü", "a,b", "a=b", "x" * (LONGEST + 1), "default"]


@task(tag="gpu")
async def tagged(n: int) -> int:
    return n


@pytest.mark.parametrize("tag", BAD)
def test_what_can_be_no_tag_is_refused_where_it_stands(tag: str) -> None:
    """With the module, before anything runs; and where servers are told their tags."""
    with pytest.raises(ValueError, match="tag"):
        task(lambda: 1, tag=tag)
    if tag not in ("", "default", "a,b"):
        with pytest.raises(ConfigError, match="REWAKE_TAGS"):
            ServerConfig.from_env({"REWAKE_TAGS": f"gpu,{tag}"})


@pytest.mark.parametrize("tag", ["gpu", "a", "0", "eu-west-1", "x" * LONGEST])
def test_a_tag_is_short_and_plain(tag: str) -> None:
    """Letters, digits and single hyphens in between."""
    assert checked_tag(tag) == tag
    assert task(lambda: 1, tag=tag).tag == tag


def test_a_step_has_no_tag() -> None:
    """It runs with its workflow, wherever that is, and says so."""
    options: Any = {"tag": "gpu"}
    with pytest.raises(TypeError, match="a step runs in the process of its workflow"):
        step("one", lambda: 1, **options).send(None)


def test_a_method_and_a_pickle_keep_the_tag() -> None:
    """Also of a task that travels with its object, or as a closure."""

    class Model:
        @task(tag="gpu")
        async def train(self) -> int:
            return 1

    assert Model().train.tag == "gpu"
    assert pickle.loads(pickle.dumps(tagged)).tag == "gpu"
    reduced: Any = task(len, tag="big").__reduce__()
    assert reduced[0](*reduced[1]).tag == "big"


def test_the_recorded_tag_stands() -> None:
    """Another tag in the code strands no run: what was asked for waits where it was asked to."""

    async def body() -> int:
        found: int = await task(tagged.function, name="tagged", tag=chosen[0])(1)
        return found

    chosen = ["gpu"]
    run = Run(body)
    chosen[0] = "cpu"
    run.restart()
    assert [op.scheduled().tag for op in run.execution.open.values()] == ["gpu"]
    assert run.to_the_end().result == 1
    run.close()


def test_what_is_served() -> None:
    """`default` stands for what has no tag; without it, only tasks of the tags are served."""
    assert ("" in served(["gpu"]), "gpu" in served(["gpu"])) == (False, True)
    assert ("" in served(["gpu", "default"]), "cpu" in served(["gpu", "default"])) == (True, False)
    assert ("" in Served(), "gpu" in Served()) == (True, False)
    assert str(served(["b", "default", "a"])) == "default,a,b"
    assert ServerConfig.from_env({}).served is None
