"""A deploy strands nothing that it need not: what is compared on replay, and what stands."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import sys
import types
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pydantic
import pytest

from rewake import sleep, task, wait_for_approval
from rewake.app import load_app
from rewake.errors import NonDeterminismError
from rewake.kinds import OutcomeKind
from rewake.values.codecs import decode, encode
from rewake.values.digests import digest
from rewake.values.fields import field_names
from tests.support.driver import START, Run, TestProgram
from tests.support.values import PLACE

Body = Callable[[], Awaitable[Any]]


@task
async def fetch(x: Any) -> str:
    return "fetched"


@task
async def ship(order: Any, *, to: Any = None) -> str:
    return "shipped"


def moved_on(before: Body, after: Body, *settled: str) -> Run:
    """A run of `before`, with these operations settled, that goes on with the code of `after`."""
    run = Run(before)
    for key in settled:
        run.settle(key)
    run.execution.drop()
    run.program = TestProgram(after)
    run.execution = run.replayed()
    return run


def told(before: Body, after: Body) -> str:
    """What is said of the difference between the two."""
    run = moved_on(before, after)
    assert isinstance(run.execution.error, NonDeterminismError)
    message = str(run.execution.error)
    run.close()
    return message


@pytest.mark.parametrize("wait", [sleep, asyncio.sleep])
@pytest.mark.parametrize("seconds", [1, 60])
def test_a_sleep_ends_when_it_was_recorded_to(wait: Any, seconds: float) -> None:
    """A sleep that waits keeps its recorded end, whether the code's is shorter or longer now."""

    async def before() -> Any:
        await wait(5)
        await fetch(1)

    async def after() -> Any:
        await wait(seconds)
        return await fetch(1)

    run = moved_on(before, after)
    assert run.execution.error is None
    (op,) = run.execution.open.values()
    assert op.due == START + 5000
    run.settle(op.key)
    run.restart()
    run.settle("fetch")
    assert run.execution.finished is not None
    run.close()


def test_a_sleep_of_nothing_is_an_operation_less() -> None:
    """A sleep shortened to nothing, or made of nothing, differs: it is no operation."""

    async def none() -> Any:
        await sleep(0)
        await fetch(1)

    async def some() -> Any:
        await sleep(5)
        await fetch(1)

    assert "'sleep'" in told(some, none)
    assert "'sleep'" in told(none, some)


def test_an_approval_keeps_its_texts_and_its_deadline() -> None:
    """A description, a form or a time-out that was corrected, given or taken is no difference."""
    asked: list[dict[str, Any]] = [
        {"description": "pay 5?", "timeout": 10},
        {"description": "Pay 5?", "form": {"n": {"type": "number"}}, "timeout": 20},
        {},
    ]

    def waiting(options: dict[str, Any]) -> Body:
        async def main() -> Any:
            return (await wait_for_approval("boss", **options)).approved

        return main

    for before in asked:
        for after in asked:
            run = moved_on(waiting(before), waiting(after))
            assert run.execution.error is None
            due = START + 1000 * before["timeout"] if "timeout" in before else None
            assert run.execution.open["boss"].due == due
            run.close()


def test_a_run_keeps_the_deadline_that_it_began_with() -> None:
    """A time-out of a workflow that is changed, given or taken counts for new runs."""

    async def body() -> Any:
        await sleep(60)

    for then in (None, 5000):
        for now in (None, 3000):
            run = Run(body, timeout=then)
            run.execution.drop()
            run.program = TestProgram(body, timeout=now)
            run.execution = replayed = run.replayed()
            assert replayed.error is None
            assert run.open == (["sleep"] if then is None else ["run-timeout", "sleep"])
            if then is not None:
                assert replayed.open["run-timeout"].due == START + then
                run.settle("run-timeout")
                assert replayed.finished is not None
                assert replayed.finished.kind is OutcomeKind.TIMEOUT
            run.close()


def as_dataclass(*, slots: bool = False, **fields: Any) -> Any:
    made = [
        (name, Any, dataclasses.field(default_factory=default))
        if callable(default)
        else (name, Any, dataclasses.field(default=default))
        for name, default in fields.items()
    ]
    return dataclasses.make_dataclass("Order", [("id", int), *made], slots=slots)


as_slots = functools.partial(as_dataclass, slots=True)


def as_struct(**fields: Any) -> Any:
    made: list[Any] = [
        (name, Any, msgspec.field(default_factory=default) if callable(default) else default)
        for name, default in fields.items()
    ]
    return msgspec.defstruct("Order", [("id", int), *made], module=__name__)


def as_attrs(**fields: Any) -> Any:
    made = {
        name: attrs.field(factory=default) if callable(default) else attrs.field(default=default)
        for name, default in fields.items()
    }
    return attrs.make_class("Order", {"id": attrs.field(), **made})


def as_model(**fields: Any) -> Any:
    made: dict[str, Any] = {
        name: (Any, pydantic.Field(default_factory=default) if callable(default) else default)
        for name, default in fields.items()
    }
    return pydantic.create_model("Order", __module__=__name__, id=(int, ...), **made)


def as_named_tuple(**fields: Any) -> Any:
    defaults = [default() if callable(default) else default for default in fields.values()]
    return collections.namedtuple("Order", ["id", *fields], defaults=defaults)


FAMILIES = [as_dataclass, as_slots, as_struct, as_attrs, as_model, as_named_tuple]


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Deploys a class, as `rewake_test_shop.Order`."""
    module = types.ModuleType("rewake_test_shop")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def deploy(kind: Any) -> Any:
        kind.__module__, kind.__qualname__ = module.__name__, "Order"
        module.Order = kind  # type: ignore[attr-defined]
        return kind

    return deploy


@pytest.mark.parametrize("family", FAMILIES)
def test_a_field_with_a_default_changes_no_digest(family: Any, shop: Any) -> None:
    """Added or taken away, in a dataclass, a struct, a model: only another value differs."""
    old = digest({"o": shop(family())(id=1)})
    grown = shop(family(note="", tags=list, kinds=lambda: ["a"]))
    assert digest({"o": grown(id=1)}) == old
    assert digest({"o": grown(id=1, note="x")}) != old
    assert digest({"o": grown(id=1, tags=["x"])}) != old
    assert digest({"o": grown(id=1, kinds=[])}) != old


@pytest.mark.parametrize("family", [as_dataclass, as_slots, as_attrs, as_model])
def test_a_field_whose_default_is_drawn_strands_nothing(family: Any, shop: Any) -> None:
    """A factory is not called to compare: a field that the recorded object lacks is passed over."""

    async def body() -> Any:
        return await ship(sys.modules["rewake_test_shop"].Order(id=1))

    shop(family())
    run = Run(body)
    run.execution.drop()
    shop(family(drawn=uuid.uuid4))
    run.execution = run.replayed()
    assert run.execution.error is None
    run.settle("ship")
    assert run.execution.finished is not None
    run.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_stored_before_has_the_new_fields(family: Any, shop: Any) -> None:
    """A result of a class that has got fields since comes back with their defaults, by name."""
    old = shop(family(price=0))(id=1, price=5)
    stored = encode([old], **PLACE)
    grown = shop(family(note="n", tags=list, price=0))
    (read,) = decode(stored, **PLACE)
    assert type(read) is grown
    assert (read.id, read.note, read.tags) == (1, "n", [])
    assert read.price == 5
    if family is not as_named_tuple:
        assert decode(stored, **PLACE)[0].tags is not read.tags


@pytest.mark.parametrize("family", FAMILIES)
def test_a_difference_is_named_down_to_the_field(family: Any, shop: Any) -> None:
    """The error names argument, item and field, shows numbers and no texts, and names the line."""
    order = shop(family(note=""))

    def shipping(*args: Any, **named: Any) -> Body:
        async def main() -> Any:
            await ship(*args, **named)

        return main

    one = shipping([order(id=1), {"k": order(id=2, note="secret")}])
    other = shipping([order(id=1), {"k": order(id=2, note="hidden")}])
    message, long = told(one, other), "a str of length 6"
    differs = f"order[1]['k'].note differs (recorded {long}, asked for {long})"
    assert f"other arguments here than the history has: {differs} ({__file__}, line " in message
    lists = "(recorded a list of length 2, asked for a list of length 1)"
    assert f": order differs {lists} (" in told(one, shipping([order(id=1)]))
    added = "(recorded nothing, asked for a str of length 1)"
    assert f": to differs {added} (" in told(shipping(1), shipping(1, to="x"))
    numbers = "(recorded 1, asked for 2)"
    assert f": order.id differs {numbers} (" in told(shipping(order(id=1)), shipping(order(id=2)))


@pytest.mark.parametrize("family", [as_dataclass, as_attrs, as_model])
def test_a_field_that_was_taken_away_is_named(family: Any, shop: Any) -> None:
    """What the recorded object had and today's class has not is a difference."""

    async def body() -> Any:
        given = {"gone": 5} if "gone" in (field_names(order) or ()) else {}
        return await ship(order(id=1, **given))

    order = shop(family(gone=0))
    run = Run(body)
    run.execution.drop()
    order = shop(family())
    replayed = run.replayed()
    assert ": order.gone differs (recorded 5, asked for nothing) (" in str(replayed.error)
    replayed.drop()
    run.close()


@pytest.mark.parametrize("family", [as_slots, as_struct, as_named_tuple])
def test_a_field_that_leaves_no_trace_is_named(family: Any, shop: Any) -> None:
    """An object without room for the field that was taken away loses it as it is read."""
    order = shop(family(gone=0))

    async def body() -> Any:
        return await ship(order(id=1, **given))

    given = {"gone": 5}
    run = Run(body)
    run.execution.drop()
    order, given = shop(family()), {}
    replayed = run.replayed()
    assert ": Order.gone was taken away (" in str(replayed.error)
    replayed.drop()
    run.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_arguments_are_no_difference(family: Any, shop: Any) -> None:
    """A default that is another one now, of a field or a parameter, or a parameter that has another
    name, leaves alone what was asked for: digests leave out defaults, and have names.
    """
    order = shop(family(qty=1))

    def sending(order: Any, count: int = 3) -> None: ...

    def renamed(parcel: Any, count: int = 4) -> None: ...

    sending.__qualname__ = renamed.__qualname__ = "send"
    sent: Any = task(sending, name="send")

    async def body() -> Any:
        return await sent(order(id=1, qty=1), 3)

    run = Run(body)
    run.execution.drop()
    order, sent = shop(family(qty=2)), task(renamed, name="send")
    run.execution = run.replayed()
    assert run.execution.error is None
    run.settle("send")
    assert run.execution.finished is not None
    run.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_class_that_was_moved_is_the_same(family: Any, shop: Any) -> None:
    """As long as it can be imported from where it was, too."""
    order = shop(family())

    async def body() -> Any:
        return await ship(order(id=1))

    run = Run(body)
    run.execution.drop()
    order.__module__ = "rewake_test_models"
    run.execution = run.replayed()
    assert run.execution.error is None
    run.settle("ship")
    assert run.execution.finished is not None
    run.close()


def test_keys_that_are_equal_are_not_the_same(shop: Any) -> None:
    """Python takes 1 and True for one key."""

    def shipping(value: Any) -> Body:
        async def main() -> Any:
            await ship(value)

        return main

    assert ": order differs (" in told(shipping({1: "a"}), shipping({True: "a"}))


def test_the_entry_file_is_the_same_under_both_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`shop/own.py` and `shop.own` are one: in digests, and in what is written and read."""
    (tmp_path / "rwk_shop").mkdir()
    (tmp_path / "rwk_shop" / "rwk_own.py").write_text(ENTRY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sources = ("rwk_shop/rwk_own.py", "rwk_shop.rwk_own")
    for wrote, reads in (sources, sources[::-1]):
        apps = {}
        written: list[Any] = []
        mark = ""
        for source in (wrote, reads):
            app, _ = load_app(source)
            apps[source] = vars(sys.modules[app.workflows["main"].function.__module__])
            space = apps[source]
            mark = digest({"o": space["Order"](1), "f": space["plain"], "c": space["Order"]})
            if source == wrote:
                value = [
                    space["Order"](1),
                    space["plain"],
                    space["ship"],
                    lambda o=space["Order"]: o,
                ]
                written = [mark, encode(value, **PLACE)]
        assert apps[wrote]["Order"] is not apps[reads]["Order"]
        assert mark == written[0]
        order, plain, shipped, closure = decode(written[1], **PLACE)
        assert (type(order), plain, shipped) == tuple(
            apps[reads][n] for n in ("Order", "plain", "ship")
        )
        assert closure() is apps[reads]["Order"]
        for module in ("rwk_own", "rwk_shop.rwk_own"):
            sys.modules.pop(module, None)


ENTRY = """
from dataclasses import dataclass
from rewake import task, workflow

@dataclass
class Order:
    id: int

def plain():
    return 1

@task
async def ship(order: Order) -> Order:
    return order

@workflow
async def main() -> int:
    return 1
"""
