"""What a workflow declares is what its body gets, or the input or the app is refused."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import sys
import types
import typing
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attrs
import msgspec
import pytest

from rewake import sleep, task, workflow
from rewake.app import App
from rewake.errors import AppError, InvalidInput
from tests.support.virtual import Bench, virtually

if typing.TYPE_CHECKING:
    from fractions import Fraction

T = TypeVar("T")
Number = TypeVar("Number", int, str)
UserId = NewType("UserId", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rate(enum.Enum):
    LOW = 0.5
    HIGH = 1.5


@dataclasses.dataclass
class Cat:
    name: str


@dataclasses.dataclass
class Dog:
    bones: int
    home: Path = Path("/")
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Node:
    value: int
    children: list[Node] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


@dataclasses.dataclass
class Boxes(Box[list[T]], Generic[T]):
    other: T


@dataclasses.dataclass
class Checked:
    count: int
    twice: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count must not be negative")
        self.twice = 2 * self.count


class Point(NamedTuple):
    x: int
    where: Path = Path("/")


class Options(TypedDict):
    name: str
    path: typing.NotRequired[Path]


class Shape(msgspec.Struct):
    sides: int
    file: Path


class Tree(msgspec.Struct, rename="camel", tag="tree"):
    top_height: int
    owner: Cat | None = None
    where: Options | None = None
    shapes: dict[int, list[Shape]] = {}


SHAPES = {"1": [{"sides": 1, "file": "a"}]}
WHERE = {"name": "x", "path": "p"}


@attrs.define
class Owner:
    _name: str
    home: Path = attrs.field(default=Path("/"), alias="address")


class Odd:
    """Nothing that JSON could become."""


ID = "12345678-1234-5678-1234-567812345678"

FITS: list[tuple[Any, Any, Any]] = [
    (int, 3, 3),
    (float, 3, 3.0),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, [1], [1]),
    (bytes, "aGk=", b"hi"),
    (Decimal, "1.50", Decimal("1.50")),
    (uuid.UUID, ID, uuid.UUID(ID)),
    (datetime, "2024-05-06T07:08:09Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
    (date, "2024-05-06", date(2024, 5, 6)),
    (timedelta, "P1D", timedelta(days=1)),
    (Path, "/a/b", Path("/a/b")),
    (PurePosixPath, "a", PurePosixPath("a")),
    (Color, "red", Color.RED),
    (Rate, 0.5, Rate.LOW),
    (Literal["a", 1], "a", "a"),
    (UserId, 7, 7),
    (Cat, {"name": "tom"}, Cat("tom")),
    (Cat | None, None, None),
    (Cat | None, {"name": "tom"}, Cat("tom")),
    (Cat | Dog, {"bones": 3}, Dog(3)),
    (Cat | Dog, {"bones": 3, "home": "/x"}, Dog(3, Path("/x"))),
    (Cat | str, "tom", "tom"),
    (Path | int, "a", Path("a")),
    (Path | int, 3, 3),
    (Path | str, "a", "a"),
    (date | datetime, "2024-05-06", date(2024, 5, 6)),
    (date | datetime, "2024-05-06T00:00:00Z", datetime(2024, 5, 6, tzinfo=UTC)),
    (list[Cat] | list[Dog], [], []),
    (list[Cat | Dog], [{"name": "a"}, {"bones": 1}], [Cat("a"), Dog(1)]),
    (list[Path], ["a"], [Path("a")]),
    (set[Path], ["a"], {Path("a")}),
    (frozenset[int], [1], frozenset({1})),
    (tuple[Path, int], ["a", 1], (Path("a"), 1)),
    (tuple[Path, ...], ["a", "b"], (Path("a"), Path("b"))),
    (collections.abc.Sequence[Cat], [{"name": "a"}], [Cat("a")]),
    (collections.abc.Iterable[int], [1], [1]),
    (dict[str, Path], {"a": "b"}, {"a": Path("b")}),
    (dict[int, Cat], {"1": {"name": "a"}}, {1: Cat("a")}),
    (dict[int, str], {"1": "a"}, {1: "a"}),
    (collections.abc.Mapping[str, Cat], {"a": {"name": "b"}}, {"a": Cat("b")}),
    (Node, {"value": 1, "children": [{"value": 2}]}, Node(1, [Node(2)])),
    (Box[Path], {"inside": "a"}, Box(Path("a"))),
    (Box[Cat | Dog], {"inside": {"bones": 1}}, Box(Dog(1))),
    (Boxes[Path], {"inside": ["a"], "other": "b"}, Boxes([Path("a")], Path("b"))),
    (Number, "a", "a"),
    (Checked, {"count": 2}, Checked(2)),
    (Point, [1, "a"], Point(1, Path("a"))),
    (Point, [1], Point(1)),
    (Options, {"name": "a"}, {"name": "a"}),
    (Options, {"name": "a", "path": "b"}, {"name": "a", "path": Path("b")}),
    (Shape, {"sides": 3, "file": "a"}, Shape(3, Path("a"))),
    (
        Tree | int,
        {"type": "tree", "topHeight": 2, "owner": {"name": "a"}, "where": WHERE, "shapes": SHAPES},
        Tree(2, Cat("a"), {"name": "x", "path": Path("p")}, {1: [Shape(1, Path("a"))]}),
    ),
    (Owner, {"name": "a", "address": "/x"}, Owner("a", Path("/x"))),
    (Annotated[Path, "a note"], "a", Path("a")),
    (Annotated[int, msgspec.Meta(gt=0)], 1, 1),
    (Annotated[list[Cat], msgspec.Meta(max_length=1)], [{"name": "a"}], [Cat("a")]),
]


def takes(hint: Any) -> Any:
    """A workflow with a parameter of this type, which sleeps and says what it got."""

    @task
    async def same(value: Any) -> Any:
        return value

    async def main(value: Any, others: Any = ()) -> Any:
        before = value
        await sleep(60)
        return [before, await same(value), others]

    main.__annotations__ |= {"value": hint, "others": list[hint]}
    return workflow(main)


@pytest.mark.parametrize(("hint", "given", "wanted"), FITS, ids=lambda each: str(each)[:40])
def test_the_body_gets_what_it_declares(hint: Any, given: Any, wanted: Any) -> None:
    """An input becomes a value of the declared type, live and again on a cold replay, and a task
    takes and gives it as it is.
    """

    async def body(bench: Bench) -> None:
        got, back, others = await bench.run("main", value=given, others=[given])
        assert (got, back, others) == (wanted, wanted, [wanted])
        assert type(got) is type(back) is type(wanted)

    virtually([takes(hint)], body, cached=0)


MISFITS: list[tuple[Any, Any, str]] = [
    (int, "3", "value"),
    (Path, 3, "value"),
    (Rate, 7.5, "value"),
    (Cat, {"name": 3}, "value.name"),
    (Cat, {"name": "a", "nmae": "b"}, "value.nmae"),
    (Cat, {}, "value.name"),
    (Cat | None, {"name": 3}, "value"),
    (Cat | Dog, {"name": "a", "bones": 1}, "value"),
    (Cat | Box[str], "x", "value"),
    (uuid.UUID | Path, ID, "value"),
    (list[Path], ["a", 3], "value[1]"),
    (list[Cat], [{"name": "a"}, {"name": 1}], "value[1].name"),
    (tuple[Path, int], ["a"], "value"),
    (dict[str, Path], {"a": 3}, "value['a']"),
    (Node, {"value": 1, "children": [{"value": "x"}]}, "value.children[0].value"),
    (Checked, {"count": -1}, "value"),
    (Checked, {"count": 1, "twice": 3}, "value.twice"),
    (Options, {"name": "a", "pth": "b"}, "value.pth"),
    (Options, {"path": "a"}, "value.name"),
    (Shape, {"sides": 3, "file": 3}, "value.file"),
    (Shape, {"sides": 3, "file": "a", "flie": "b"}, "value.flie"),
    (list[Shape], [{"sides": 3, "file": "a", "flie": "b"}], "value[0].flie"),
    (Tree, {"topHeight": 2, "owner": {"name": "a", "nmae": "b"}}, "value.owner.nmae"),
    (Tree, {"topHeight": 2, "where": {**WHERE, "pth": "b"}}, "value.where.pth"),
    (
        Tree,
        {"topHeight": 2, "shapes": {"1": [{**SHAPES["1"][0], "x": 1}]}},
        "value.shapes['1'][0].x",
    ),
    (Owner, {"_name": "a"}, "value.name"),
    (Annotated[list[Cat], msgspec.Meta(max_length=0)], [{"name": "a"}], "value"),
]


@pytest.mark.parametrize(("hint", "given", "field"), MISFITS, ids=lambda each: str(each)[:40])
def test_what_does_not_fit_is_refused_by_its_place(hint: Any, given: Any, field: str) -> None:
    """The error names the part: an unknown field too, and what fits several members of a union."""
    with pytest.raises(InvalidInput) as raised:
        takes(hint).arguments({"value": given})
    assert raised.value.field == field


@pytest.mark.parametrize(
    "hint",
    [Odd, list[Odd], Cat | Odd, dict[str, Odd], Box[Odd], type[int], collections.abc.Callable],
    ids=str,
)
def test_a_type_that_no_json_becomes_is_refused_with_the_app(hint: Any) -> None:
    """An app with such a parameter is not loaded; the error names workflow and parameter."""
    with pytest.raises(AppError, match=r"workflow 'main': the parameter 'value'.* no JSON"):
        App().add(takes(hint))


@workflow
async def hidden(part: Fraction, count: int = 1) -> None:
    """Its parameter is of a type that only a type checker sees."""


def test_a_name_that_only_a_type_checker_knows_is_refused_with_the_app() -> None:
    """A type under `TYPE_CHECKING` is none when the app runs, so it is not passed over."""
    with pytest.raises(AppError, match="'part' has the type Fraction, which cannot be resolved"):
        App().add(hidden)


@workflow
async def returns_hidden(count: int) -> Fraction | None:
    return None


def test_a_result_that_cannot_be_resolved_leaves_the_parameters_alone() -> None:
    """One unknown name does not switch off the types of the others."""
    App().add(returns_hidden)
    with pytest.raises(InvalidInput, match="count: Expected `int`"):
        returns_hidden.arguments({"count": "x"})


class Given(TypedDict, total=False):
    size: Path


@workflow
async def numbers(*args: int, **rest: int) -> None: ...


@workflow
async def unpacked(**options: typing.Unpack[Given]) -> None: ...


def test_arguments_of_any_name_are_converted_too() -> None:
    """`**rest: int` is checked, `Unpack` names what there is, `*args` can be given by no name."""
    assert numbers.arguments({"a": 1, "args": 2}) == {"a": 1, "args": 2}
    with pytest.raises(InvalidInput, match="a: Expected `int`"):
        numbers.arguments({"a": "x"})
    assert unpacked.arguments({"size": "a"}) == {"size": Path("a")}
    with pytest.raises(InvalidInput, match="no parameter 'colour'"):
        unpacked.arguments({"colour": 1})


def made_here() -> Any:
    @dataclasses.dataclass
    class Local:
        size: int

    @workflow
    async def local(part: Local) -> str:
        return f"{type(part).__name__} or {Local.__name__}"

    return local


def test_a_local_class_is_found_if_the_function_captures_it() -> None:
    """Behind `from __future__ import annotations` its name is a text, and no name of the module."""
    found = made_here()
    App().add(found)
    assert type(found.arguments({"part": {"size": 1}})["part"]).__name__ == "Local"


@dataclasses.dataclass
class Ticket:
    id: uuid.UUID = dataclasses.field(default_factory=uuid.uuid4)


def test_a_default_that_is_new_each_time_is_kept() -> None:
    """What a field's factory made when the run began is what every replay sees."""

    async def body(bench: Bench) -> None:
        before, task_saw, others = await bench.run("main", value={}, others=[{}])
        assert before == task_saw
        assert isinstance(before, Ticket)
        assert others != [before]

    virtually([takes(Ticket)], body, cached=0)


@workflow
async def appends(
    n: int = 1,
    items: list[Any] = [],  # noqa: B006
    /,
    cat: Shape = Shape(0, Path("a")),  # noqa: B008
) -> list[Any]:
    items.append(cat.sides)
    await sleep(60)
    cat.sides += 1
    await sleep(60)
    return [*items, cat.sides, n]


def test_a_default_that_a_body_changes_is_its_own() -> None:
    """Neither another run nor a replay of this one sees what was done to it."""

    async def body(bench: Bench) -> None:
        for _ in range(2):
            assert await bench.run("appends") == [0, 1, 1]

    virtually([appends], body, cached=0)
    assert appends.arguments({}) == {}


def test_a_run_that_goes_on_is_not_asked_for_its_fields_again() -> None:
    """Code that lost a field since a run began makes of its input what it can."""
    given = {"value": {"name": "tom", "age": 3}}
    for hint in (Cat, Cat | Dog):
        assert takes(hint).arguments(given, strict=False) == {"value": Cat("tom")}


BRACKETS = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Box[X]:
    inside: X

@dataclasses.dataclass
class Boxes[X](Box[list[X]]):
    other: dict[str, X]

class Numbers(Boxes[int]): ...

async def main[X](value: Numbers, items: list[X]): ...
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_type_parameters_in_brackets_are_found_where_annotations_are_texts() -> None:
    """`class Box[X]` behind `from __future__ import annotations`, two classes with an `X` each."""
    module = types.ModuleType("brackets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "brackets", module)
        exec(BRACKETS, vars(module))
        made = workflow(module.main)
        App().add(made)
    got = made.arguments({"value": {"inside": [1], "other": {"a": 2}}, "items": ["a"]})
    assert got == {"value": module.Numbers([1], {"a": 2}), "items": ["a"]}
    with pytest.raises(InvalidInput, match=r"value\.inside\[0\]"):
        made.arguments({"value": {"inside": ["a"], "other": {}}, "items": []})
