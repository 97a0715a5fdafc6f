"""Keyed states, as clients ask for them: `client.states`. A `tenant` has states of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from rewake.client import flows
from rewake.client.asking import Ask, Flow, Manner, sending
from rewake.client.flows import PAGE, View
from rewake.client.schedules import Asking, AsyncAsking
from rewake.client.typed import query_of
from rewake.values.data import encoded


def _asked(
    manner: Manner, method: str, name: str, key: str, tenant: str | None, body: bytes | None = None
) -> Flow[View]:
    ask = Ask(method, ("v1", "state", name, key), query_of(tenant=tenant), body)
    return (yield from sending(ask, manner)).body  # type: ignore[no-any-return]


def _said(value: object, version: int | None) -> bytes:
    return encoded({"value": value} if version is None else {"value": value, "version": version})


class AsyncStates:
    """The keyed states of a server."""

    def __init__(self, client: AsyncAsking) -> None:
        self._client = client

    def list(self, name: str | None = None, *, tenant: str | None = None) -> AsyncIterator[View]:
        """All, or those of one name, by name and key, without their values."""
        query = query_of(name=name, tenant=tenant, limit=PAGE)
        return self._client.pages("states", "state", query=query)

    async def get(self, name: str, key: str, *, tenant: str | None = None) -> View:
        """Its `value` and `version`, and who has it. Raises `RunNotFound` if there is none."""
        query = query_of(tenant=tenant)
        flow = flows.fetched(self._client.manner, "state", name, key, query=query)
        return await self._client.do(flow)

    async def write(
        self,
        name: str,
        key: str,
        value: object,
        *,
        version: int | None = None,
        tenant: str | None = None,
    ) -> View:
        """Write it, with a `version` only if it is still that one (0: there is none).

        Raises `RunConflict` if it is not, or a run has it.
        """
        body = _said(value, version)
        return await self._client.do(_asked(self._client.manner, "PUT", name, key, tenant, body))

    async def remove(self, name: str, key: str, *, tenant: str | None = None) -> None:
        """Remove it, with its value. Raises `RunNotFound`, and `RunConflict` if a run has it."""
        await self._client.do(_asked(self._client.manner, "DELETE", name, key, tenant))


class States:
    """The keyed states of a server."""

    def __init__(self, client: Asking) -> None:
        self._client = client

    def list(self, name: str | None = None, *, tenant: str | None = None) -> Iterator[View]:
        """All, or those of one name, by name and key, without their values."""
        query = query_of(name=name, tenant=tenant, limit=PAGE)
        return self._client.pages("states", "state", query=query)

    def get(self, name: str, key: str, *, tenant: str | None = None) -> View:
        """Its `value` and `version`, and who has it. Raises `RunNotFound` if there is none."""
        query = query_of(tenant=tenant)
        flow = flows.fetched(self._client.manner, "state", name, key, query=query)
        return self._client.do(flow)

    def write(
        self,
        name: str,
        key: str,
        value: object,
        *,
        version: int | None = None,
        tenant: str | None = None,
    ) -> View:
        """Write it, with a `version` only if it is still that one (0: there is none).

        Raises `RunConflict` if it is not, or a run has it.
        """
        body = _said(value, version)
        return self._client.do(_asked(self._client.manner, "PUT", name, key, tenant, body))

    def remove(self, name: str, key: str, *, tenant: str | None = None) -> None:
        """Remove it, with its value. Raises `RunNotFound`, and `RunConflict` if a run has it."""
        self._client.do(_asked(self._client.manner, "DELETE", name, key, tenant))
