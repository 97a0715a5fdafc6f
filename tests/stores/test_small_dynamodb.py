"""The DynamoDB of the simulation does what ministack does with all that the runtime asks."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rewake.kinds import Kind, OutcomeKind
from rewake.records import Failure, Operation, Outcome
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.table import Check, Key
from tests.support.aws import table_name
from tests.support.dynamodb import wire
from tests.support.small_dynamodb import SmallDynamo

KEYS = [Key("R#1", f"O#{name}") for name in ("a", "b")]
TEXTS = st.sampled_from(["", "a", "b", "é\0\U0001f600", '"quoted" \\ text'])
COUNTED = st.sampled_from([0, 1, -1, 7, 10**15])
NUMBERS = st.sampled_from([0, 1, -1, 7, 10**15, 10**37, -(10**37)])
OUTCOMES = st.none() | st.builds(
    Outcome, st.just(OutcomeKind.ERROR), st.none(), st.builds(Failure, TEXTS, TEXTS)
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "owner": TEXTS,
    "name": TEXTS,
    "lease": COUNTED,
    "attempts": COUNTED,
    "due": st.none() | st.integers(0, 9),
    "first": st.none() | NUMBERS,
    "apart": st.booleans(),
    "outcome": OUTCOMES,
}
COMPARED = [name for name in VALUES if name != "outcome"]
items = st.builds(Operation, st.just("1"), st.just("a"), st.sampled_from(list(Kind)), **VALUES)


@st.composite
def checks(draw: st.DrawFn) -> Check:
    """Any test of any attribute."""
    name = draw(st.sampled_from(["run", "kind", *VALUES]))
    if name not in COMPARED or draw(st.booleans()):
        return Check(name, draw(st.sampled_from(["absent", "present"])))
    if draw(st.booleans()):
        return Check(name, "in", draw(st.lists(VALUES[name], max_size=3)))
    orders = ["=", "<", "<="] if name in ("lease", "attempts", "first", "due") else ["="]
    value = draw(VALUES[name].filter(lambda value: value is not None))
    return Check(name, draw(st.sampled_from(orders)), value)


@st.composite
def updates(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Any update."""
    new = draw(st.fixed_dictionaries({}, optional=VALUES))
    counted = [name for name in ("lease", "attempts") if name not in new]
    add = {name: draw(st.integers(-2, 2)) for name in counted if draw(st.booleans())}
    when = draw(st.lists(st.lists(checks(), max_size=3), max_size=3))
    create = draw(st.none() | items)
    key = draw(st.sampled_from(KEYS))
    return "update", {"key": key, "when": when, "set": new, "add": add, "create": create}


calls = st.one_of(
    updates(),
    updates(),
    st.tuples(
        st.just("put"),
        st.fixed_dictionaries(
            {"key": st.sampled_from(KEYS), "item": items, "absent": st.booleans()}
        ),
    ),
    st.tuples(st.just("delete"), st.fixed_dictionaries({"keys": st.lists(st.sampled_from(KEYS))})),
    st.tuples(st.just("query"), st.fixed_dictionaries({"partition": st.just("R#1")})),
    st.tuples(
        st.just("due"), st.fixed_dictionaries({"until": st.integers(0, 9), "limit": st.just(2)})
    ),
)


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(story=st.lists(calls, min_size=4, max_size=12))
def test_it_does_what_ministack_does(story: list[tuple[str, dict[str, Any]]]) -> None:
    """Any conditions and changes of any items: the same answers, and the same is left."""

    async def main() -> None:
        theirs = DynamoTable(Client(wire("dynamodb")), table_name(), uuid4().hex[:8])
        ours = DynamoTable(Client(SmallDynamo()), "t")
        try:
            for name, arguments in story:
                expected = await getattr(theirs, name)(**arguments)
                assert await getattr(ours, name)(**arguments) == expected, (name, arguments)
            several = [*KEYS, Key("R#1", "O#none")]
            assert await ours.get_many(several) == await theirs.get_many(several)
        finally:
            await theirs.close()

    asyncio.run(main())
