"""Parameters of pydantic's types, where it is installed: converted as pydantic does with JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest

from rewake.errors import InvalidInput
from tests.authoring.test_inputs import Cat, takes
from tests.support.virtual import Bench, virtually

pydantic = pytest.importorskip("pydantic")
pytest.importorskip("pydantic.dataclasses")


class Line(pydantic.BaseModel):  # type: ignore[misc, name-defined, unused-ignore]
    sku: str
    due: datetime


class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined, unused-ignore]
    lines: list[Line] = pydantic.Field(default_factory=list)


LINE = {"sku": "a", "due": "2024-05-06T07:08:09Z"}
MADE = Line(sku="a", due=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
POSITIVE = Annotated[int, pydantic.Field(gt=0)]
SHORT = Annotated[bytes, pydantic.Field(max_length=9)]


@pytest.mark.parametrize(
    ("hint", "given", "wanted"),
    [
        (Line, LINE, MADE),
        (Order, {"lines": [LINE]}, Order(lines=[MADE])),
        (Line | None, None, None),
        (list[Line], [LINE], [MADE]),
        (dict[str, Line], {"a": LINE}, {"a": MADE}),
        (Order | Line, LINE, MADE),
        (Line | Cat, {"name": "a"}, Cat("a")),
        (POSITIVE, 3, 3),
        (SHORT, "YWJj", b"abc"),
        (SHORT | None, "YWJj", b"abc"),
        (list[SHORT], ["//79"], [b"\xff\xfe\xfd"]),
        (pydantic.Base64Bytes, "YWJj", b"abc"),
    ],
    ids=str,
)
def test_a_model_is_what_the_body_gets(hint: Any, given: Any, wanted: Any) -> None:
    """Models and limits of pydantic's work as parameters, live and on a cold replay."""

    async def body(bench: Bench) -> None:
        got, back, others = await bench.run("main", value=given, others=[given])
        assert (got, back, others) == (wanted, wanted, [wanted])
        assert type(got) is type(back) is type(wanted)

    virtually([takes(hint)], body, cached=0)


@pydantic.dataclasses.dataclass
class Packed:
    """Of pydantic, but for others a dataclass as any."""

    inside: bytes


PACKED: Any = Packed  # of which no type says what it takes


@pytest.mark.parametrize(
    ("hint", "given"), [(Packed, PACKED(b"abc")), (SHORT, b"abc"), (Line, MADE)], ids=str
)
def test_an_object_that_a_body_gives_is_the_one_that_a_child_gets(hint: Any, given: Any) -> None:
    """It is no JSON that would have to become one, in which bytes are written as a text."""
    got = takes(hint).arguments({"value": given, "others": [given]})
    assert got == {"value": given, "others": [given]}


@dataclass
class Twin:
    """It looks as a `Line` does."""

    sku: str
    due: datetime


@pytest.mark.parametrize("given", [MADE, Twin("a", MADE.due)], ids=str)
def test_an_object_of_a_member_of_a_union_stays_what_it_is(given: Any) -> None:
    """A body gives it to a child as an object, which may look like one of another member."""
    got = takes(Line | Twin | None).arguments({"value": given, "others": [given]})
    assert got == {"value": given, "others": [given]}
    assert type(got["value"]) is type(got["others"][0]) is type(given)


@pytest.mark.parametrize(
    ("hint", "given", "field"),
    [
        (Line, {"sku": 3, "due": "x"}, "value.sku"),
        (Order, {"lines": [LINE, {}]}, "value.lines[1].sku"),
        (POSITIVE, 0, "value"),
        (list[POSITIVE], [1, 0], "value[1]"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(hint: Any, given: Any, field: str) -> None:
    """What pydantic refuses is refused before the run starts, and named by its place."""
    with pytest.raises(InvalidInput) as raised:
        takes(hint).arguments({"value": given})
    assert raised.value.field == field
