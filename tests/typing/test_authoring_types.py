"""The types that users see. `mypy --strict` is the test: nothing of this module is run.

`assert_type` says what a type checker must find; `type: ignore[...]` marks calls that must be
errors, and is itself an error where they are not (`warn_unused_ignores`, part of strict).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewake import (
    Approval,
    Call,
    Callback,
    Notice,
    PendingApproval,
    Task,
    Workflow,
    approval,
    bind,
    callback,
    parallel,
    race,
    random,
    sleep,
    step,
    task,
    uuid4,
    wait_for_approval,
    workflow,
)

if TYPE_CHECKING:
    import random as random_module
    import uuid
    from typing import assert_type

    @task
    async def fetch(url: str, *, deep: bool = False) -> dict[str, int]:
        return {url: deep}

    @task
    def save(rows: list[int]) -> int:
        return len(rows)

    @task(retries=3, timeout=timedelta(minutes=2), name="sending", retry_on=(ValueError, OSError))
    async def send(to: str) -> None: ...

    @task(delay=1, jitter=0.1, retry_on=lambda error: isinstance(error, KeyError))
    def count(text: str) -> int:
        return len(text)

    @task
    async def tell(notice: Notice) -> list[str]:
        return [notice.link]

    @task()
    async def nothing() -> str:
        return ""

    class Service:
        @task
        async def add(self, x: int) -> str:
            return str(x)

    @workflow
    async def main(urls: list[str], limit: int = 5) -> dict[str, int]:
        return {}

    @workflow(timeout=3600, name="other")
    async def other() -> None: ...

    def _decorators() -> None:
        assert_type(nothing, Task[[], str])
        assert_type(other, Workflow[[], None])
        awaited: Coroutine[Any, Any, dict[str, int]] = fetch("u", deep=True)
        awaited = main(["u"])
        awaited.close()

    async def _calls() -> None:
        assert_type(await fetch("u"), dict[str, int])
        assert_type(await save([1]), int)
        assert_type(await save(rows=[1]), int)
        assert_type(await send(to="x"), None)
        assert_type(await count("x"), int)
        assert_type(await nothing(), str)
        assert_type(await nothing, str)
        assert_type(await task(lambda: 5), int)
        assert_type(await Service().add(1), str)
        assert_type(await main(["u"], limit=1), dict[str, int])

    async def _bound_calls() -> None:
        call = bind(fetch, "u", deep=True)
        assert_type(call, Call[dict[str, int]])
        answer = await approval("fetch", binds=call, notify=tell, remind_every=timedelta(days=1))
        assert_type(await call.run(answer), dict[str, int])
        bind(fetch, 5)  # type: ignore[arg-type]
        bind(fetch)  # type: ignore[call-arg]
        await call.run(True)  # type: ignore[arg-type]
        approval(binds=fetch)  # type: ignore[arg-type]
        approval(notify=print)  # type: ignore[arg-type]

    async def _wrong_calls() -> None:
        await fetch(5)  # type: ignore[arg-type]
        await fetch("u", deeper=True)  # type: ignore[call-arg]
        await fetch()  # type: ignore[call-arg]
        await fetch  # type: ignore[misc]
        await save("rows")  # type: ignore[arg-type]
        await Service().add("x")  # type: ignore[arg-type]
        await main("u")  # type: ignore[arg-type]
        await other(1)  # type: ignore[call-arg]
        await sleep("1")  # type: ignore[arg-type]
        await step("s", 5)  # type: ignore[call-overload]
        await step("s", lambda: 5, at_most="once")  # type: ignore[call-overload]
        task(retries="3")  # type: ignore[call-overload]
        task(retry=3)  # type: ignore[call-overload]
        workflow(retries=3)

        @workflow  # type: ignore[arg-type]
        def not_async() -> int:
            return 1

    async def _helpers() -> None:
        async def one(x: int) -> str:
            return str(x)

        async def add() -> int:
            return 1

        assert_type(await parallel([1, 2], one, concurrency=2), list[str])
        assert_type(await parallel(["u"], fetch), list[dict[str, int]])
        assert_type(await race(one(1), one(2)), str)
        assert_type(await race(one(1), add()), str | int)
        assert_type(await step("s", lambda: 5), int)
        assert_type(await step("s", add, retries=2), int)
        assert_type(await step("s", add, at_most_once=True), int)
        assert_type(await wait_for_approval("pay", timeout=timedelta(days=2)), Approval)
        asked = approval("pay", form=dict[str, int], approvers=["ann"])
        assert_type(asked, PendingApproval)
        assert_type(asked.links, dict[str, str])
        assert_type(asked.link("ann", "approve"), str)
        assert_type(await asked, Approval)
        assert_type((await wait_for_approval()).approved, bool)
        assert_type(callback("paid", result=int), Callback[int])
        assert_type(await callback("paid", result=Service, heartbeat_timeout=1), Service)
        assert_type(await callback(timeout=timedelta(days=2)), Any)
        assert_type(callback().url, str)
        callback("paid", int)  # type: ignore[call-overload]
        assert_type(await asyncio.gather(one(1), add()), tuple[str, int])
        assert_type(random(), random_module.Random)
        assert_type(uuid4(), uuid.UUID)
        await parallel(["x"], one)  # type: ignore[arg-type]


def test_types_are_what_users_expect() -> None:
    """Mypy --strict finds every type above as asserted, and every wrong call wrong."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "tests/typing"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    own = [line for line in done.stdout.splitlines() if line.startswith("tests/typing")]
    assert own == []
    assert "error: " not in done.stderr
