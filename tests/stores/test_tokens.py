"""Tokens in a table: a name has one, and what was revoked is gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rewake.errors import TokenExists, TokenNotFound
from rewake.ledger import Token
from rewake.signing.api_tokens import id_of
from rewake.stores.table import Table
from rewake.stores.tokens import Tokens
from tests.support.tables import every_table

CI = Token("ci", "digest", ["read"], 5, "bootstrap")


async def twice(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat each call, as if the table had not said how the first one went."""
    await call()
    return await call()


@every_table
async def test_a_name_has_one_token(table: Table) -> None:
    """A second token of a name is refused, unless it is the first one's own write again."""
    tokens = Tokens(table, twice)
    await tokens.create(CI)
    with pytest.raises(TokenExists):
        await tokens.create(msgspec.structs.replace(CI, digest="other"))
    assert await tokens.find(id_of("ci")) == CI


@every_table
async def test_what_is_revoked_is_gone(table: Table) -> None:
    """A revoked token is not found, its name is free, and revoking it again says so."""
    tokens = Tokens(table, twice)
    await tokens.create(CI)
    assert await tokens.revoke("ci") == CI
    assert await tokens.find(id_of("ci")) is None
    with pytest.raises(TokenNotFound):
        await tokens.revoke("ci")
    await tokens.create(msgspec.structs.replace(CI, digest="other"))


@every_table
async def test_a_use_is_noted_of_the_token_that_was_used(table: Table) -> None:
    """A late note neither brings a revoked token back nor counts for the next one of its name."""
    tokens = Tokens(table, twice)
    await tokens.create(CI)
    await tokens.used(CI, 60)
    found = await tokens.find(id_of("ci"))
    assert found is not None
    assert found.used == 60
    await tokens.used(CI, 70)  # somebody else noted it meanwhile
    assert await tokens.find(id_of("ci")) == found
    await tokens.used(found, 80)
    await tokens.revoke("ci")
    await tokens.used(CI, 90)
    assert await tokens.find(id_of("ci")) is None
    other = msgspec.structs.replace(CI, digest="other")
    await tokens.create(other)
    await tokens.used(CI, 100)
    assert await tokens.find(id_of("ci")) == other


@every_table
async def test_all_tokens_are_listed(table: Table) -> None:
    """Pages have each token once."""
    tokens = Tokens(table, twice)
    for number in range(5):
        await tokens.create(msgspec.structs.replace(CI, name=f"t{number}"))
    names, cursor = list[str](), None
    while True:
        page = await tokens.page(limit=2, cursor=cursor)
        names += [each.name for each in page.tokens]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(names) == [f"t{number}" for number in range(5)]
