"""The types of clients. `mypy --strict` is the test: nothing of this module is run.

See `test_authoring_types.py`, which asks mypy about this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import assert_type

    from rewake import AsyncClient, Client, workflow
    from rewake import Clients as Misspelt  # type: ignore[attr-defined] # noqa: F401
    from rewake.client.async_client import AsyncRun
    from rewake.client.blocking_client import Run
    from rewake.testing import AsyncEnvironment, Environment

    @dataclass
    class Report:
        lines: int

    @workflow
    async def deploy(repo: str, *, commit: str = "HEAD") -> Report:
        return Report(0)

    @workflow
    async def tidy() -> None: ...

    async def _async(client: AsyncClient) -> None:
        run = await client.start(deploy, "x", commit="abc")
        assert_type(run, AsyncRun[Report])
        assert_type(await run.result(), Report)
        assert_type(await run.result(wait=5), Report)
        named = client.with_options(key="7", if_finished="restart", wait=20)
        assert_type(await (await named.start(deploy, repo="x")).result(), Report)
        assert_type(await client.run(deploy, "id"), AsyncRun[Report])
        assert_type(await client.start(tidy), AsyncRun[None])
        by_name = await client.start("deploy", {"repo": "x"}, key="7", if_running="reject")
        assert_type(by_name, AsyncRun[Any])
        async for item in run.watch(only=["item"]):
            assert_type(item, dict[str, Any])
        async for each in client.list(deploy, state="done"):
            assert_type(each, dict[str, Any])

    async def _wrong_async(client: AsyncClient) -> None:
        await client.start(deploy)  # type: ignore[call-overload]
        await client.start(deploy, 5)  # type: ignore[call-overload]
        await client.start(deploy, "x", commits="abc")  # type: ignore[call-arg]
        await client.start(deploy, "x", key="7")  # type: ignore[call-arg]
        await client.start(tidy, 1)  # type: ignore[call-overload]
        await client.start("deploy", {"repo": "x"}, keys="7")  # type: ignore[call-overload]
        await client.start("deploy", if_finished="again")  # type: ignore[call-overload]
        await client.with_options(key="7").start(deploy)  # type: ignore[call-arg]
        await client.with_options(key="7").start(deploy, 5)  # type: ignore[arg-type]
        client.with_options(keys="7")  # type: ignore[call-arg]
        await client.list(deploy)  # type: ignore[misc]
        await client.decide("r", "pay")  # type: ignore[call-arg]

    def _blocking(client: Client) -> None:
        run = client.start(deploy, "x", commit="abc")
        assert_type(run, Run[Report])
        assert_type(run.result(), Report)
        assert_type(client.with_options(id="r").start(deploy, repo="x"), Run[Report])
        assert_type(client.run(deploy, "id").result(), Report)
        assert_type(client.start("deploy", {"repo": "x"}, wait=3), Run[Any])
        assert_type(client.result("id"), Any)
        client.start(deploy)  # type: ignore[call-overload]
        client.start(deploy, 5)  # type: ignore[call-overload]
        client.with_options(key="7").start(tidy, 1)  # type: ignore[call-arg]

    async def _environments(server: Environment, other: AsyncEnvironment) -> None:
        with server as entered:
            assert_type(entered, Environment)
            assert_type(entered.start(deploy, "x").result(), Report)
        async with other as also:
            assert_type(also, AsyncEnvironment)
            assert_type(await (await also.start(deploy, "x")).result(), Report)
        server.start(deploy, 1)  # type: ignore[call-overload]
