"""Forms of approvals: what is asked with, what is refused, and what the body is given."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from rewake import Approval, Decision, approval, group, wait_for_approval, workflow
from rewake.engine.outside.approvals import Approvals, approvals_of
from rewake.errors import InvalidInput, UsageError
from tests.support.virtual import Bench, Ended, virtually


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    lines: list[Line]
    due: dt.date | None = None


class Refund(msgspec.Struct):
    amount: float


class Options(TypedDict, total=False):
    fast: bool


class Model(pydantic.BaseModel):
    amount: int = pydantic.Field(gt=0)
    note: str = ""

    @pydantic.field_validator("note")
    @classmethod
    def polite(cls, note: str) -> str:
        if note == "rude":
            raise ValueError("be polite")
        return note


FORMS: dict[str, Any] = {
    "order": Order,
    "refund": Refund,
    "options": Options,
    "model": Model,
    "map": {"amount": {"type": "integer"}},
    "schema": {"type": "string", "minLength": 2},
    "none": None,
    "needed": {"type": "object", "required": ["x"], "properties": {"x": {}}},
}


def yes(value: Any = None) -> Approval:
    return Approval(Decision.APPROVED, value)


@workflow
async def asks(form: str, plain: bool) -> str:
    ask = wait_for_approval if plain else approval
    answer = await ask("boss", form=FORMS[form])
    return f"{answer.decision} {answer.value!r}"


CASES: list[tuple[str, Any, str]] = [
    (
        "order",
        {"lines": [{"sku": "a"}], "due": "2026-01-31"},
        "Order(lines=[Line(sku='a', count=1)], due=datetime.date(2026, 1, 31))",
    ),
    ("refund", {"amount": 3}, "Refund(amount=3.0)"),
    ("options", {"fast": True}, "{'fast': True}"),
    ("options", None, "{}"),
    ("model", {"amount": 3}, "Model(amount=3, note='')"),
    ("map", {"amount": 3, "more": 1}, "{'amount': 3, 'more': 1}"),
    ("map", None, "{}"),
    ("schema", "ab", "'ab'"),
    ("none", [1], "[1]"),
    ("none", None, "None"),
]


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("form", "value", "given"), CASES, ids=lambda each: str(each)[:20])
def test_a_typed_form_comes_back_as_its_type(
    form: str, value: Any, given: str, plain: bool, cached: int
) -> None:
    """Live and on replay; what nobody filled in is an empty object, if that fits."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", form=form, plain=plain)).run
        await asyncio.sleep(1)
        await Approvals(bench.engine).decide(run, "boss", yes(value))
        text = (await bench.result(run)).replace(f"{__name__}.", "")
        assert text == f"approved {given}"

    virtually([asks], body, cached=cached)


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize(
    ("form", "value", "field"),
    [
        ("order", {"lines": [{"sku": "a", "count": "x"}]}, "value.lines[0].count"),
        ("order", {"lines": [], "due": "2026-02-31"}, "value.due"),
        ("order", None, "value.lines"),
        ("refund", {"amount": "3"}, "value.amount"),
        ("model", {"amount": 0}, "value.amount"),
        ("map", {"amount": 1.5}, "value.amount"),
        ("schema", "a", "value"),
        ("needed", None, "value.x"),
        ("needed", [], "value"),
    ],
)
def test_what_does_not_fit_is_refused_everywhere(
    form: str, value: Any, field: str, cached: int
) -> None:
    """By every way, since all end in `decide`; also where a process has no app. It stays open."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", form=form, plain=True)).run
        await asyncio.sleep(1)
        with pytest.raises(InvalidInput) as refused:
            await Approvals(bench.engine).decide(run, "boss", yes(value))
        assert refused.value.field == field
        stranger = bench.another()
        with pytest.raises(InvalidInput):
            await Approvals(stranger).decide(run, "boss", yes(value), carry_on=False)
        assert len(await approvals_of(bench.engine, await bench.engine.get(run))) == 1
        # Who rejects need fill in nothing, and nothing wrong.
        wrong = Approval(Decision.REJECTED, 3j if value is None else value)
        with pytest.raises(InvalidInput):
            await Approvals(bench.engine).decide(run, "boss", wrong)
        await Approvals(bench.engine).decide(run, "boss", Approval(Decision.REJECTED))
        assert await bench.result(run) == "rejected None"

    virtually([asks], body, cached=cached)


def test_what_a_type_asks_beyond_its_schema_is_an_error_at_the_wait() -> None:
    """A validator of its own is found out when the body's object is made; the error says so."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks", form="model", plain=False)).run
        await asyncio.sleep(1)
        await Approvals(bench.engine).decide(run, "boss", yes({"amount": 1, "note": "rude"}))
        with pytest.raises(Ended) as ended:
            await bench.result(run)
        failure = ended.value.failure
        assert failure is not None
        assert failure.type.endswith("InvalidInput")
        assert "be polite" in failure.message
        assert "value.note" in failure.message

    virtually([asks], body)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "schema": ({"form": {"type": "objct"}}, "no JSON Schema"),
    "type": ({"form": asyncio.Event}, "no form can be made"),
    "list": ({"form": [1]}, "no form can be made"),
    "object": ({"form": 3}, "no form can be made"),
    "remote": ({"form": {"$ref": "http://x/y"}}, "only to itself"),
    "text": ({"approvers": "ann@example.com"}, "list of texts"),
    "twice": ({"approvers": ["a", "a"]}, "none of them twice"),
    "blank": ({"approvers": ["a", ""]}, "list of texts"),
    "number": ({"approvers": [3]}, "list of texts"),
    "header": ({"approvers": ["a\r\nBcc: b"]}, "an approver is a line"),
    "case": ({"approvers": ["a@b.c", "A@B.C "]}, "none of them twice"),
    "many": ({"approvers": [str(i) for i in range(101)]}, "at most 100"),
    "long": ({"approvers": ["ä" * 128]}, "254 bytes"),
    "quorum": ({"quorum": 2}, "it is asked of 0 people"),
    "too many": ({"quorum": 3, "approvers": ["a", "b"]}, "it is asked of 2 people"),
    "nobody": ({"quorum": 0}, "1 or more"),
    "half": ({"quorum": 1.5, "approvers": ["a", "b"]}, "1 or more"),
    "truth": ({"quorum": True}, "1 or more"),
    "reject": ({"reject": "none", "approvers": ["a"]}, "'any' or 'majority'"),
    "majority": ({"reject": "majority"}, "needs approvers"),
    "self": ({"self_approval": False}, "needs approvers"),
    "group": ({"approvers": [group("finance")]}, "@groups"),
}


@workflow
async def asks_badly(case: str) -> str:
    try:
        approval("boss", **BAD[case][0])
    except UsageError as error:
        await wait_for_approval("then")
        return str(error)
    return "taken"


@pytest.mark.parametrize("cached", [256, 0])
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_asked_is_refused_at_the_call(case: str, cached: int) -> None:
    """With a `UsageError` that says why; the body may go on, on replay alike."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks_badly", case=case)).run
        await asyncio.sleep(1)
        await Approvals(bench.engine).decide(run, "then", yes())
        assert BAD[case][1] in await bench.result(run)

    virtually([asks_badly], body, cached=cached)


@workflow
async def asks_about_links(wrong: str) -> str:
    ask = approval("boss", approvers=["ann", "bob"] if wrong != "one" else [])
    calls: dict[str, Callable[[], str]] = {
        "several": ask.link,
        "stranger": lambda: ask.link("eve"),
        "one": lambda: ask.link("ann"),
        "action": lambda: ask.link("ann", "shrug"),
    }
    try:
        return calls[wrong]()
    except UsageError as error:
        return str(error)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("several", "say for whom the link is: ann, bob"),
        ("stranger", "'eve' is not asked for this approval, but ann, bob"),
        ("one", "without approvers"),
        ("action", "only approve or reject"),
    ],
)
def test_a_link_for_nobody_is_refused(wrong: str, told: str) -> None:
    """The error names what there is."""

    async def body(bench: Bench) -> None:
        assert told in await bench.run("asks_about_links", wrong=wrong)

    virtually([asks_about_links], body, url="https://app.example")


def test_forms_cost_nothing_until_one_is_used() -> None:
    """Importing `rewake` does not import the library that checks them."""
    code = "import sys, rewake; sys.exit('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
