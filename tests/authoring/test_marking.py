"""What is marked as secret: which parts of which types, and of which objects."""

from __future__ import annotations

import dataclasses
import enum
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import (
    Annotated,
    Any,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)

import attrs
import msgspec
import pydantic
import pytest

from rewake import secret, task
from rewake.authoring.marking import hidden_in, hidden_in_call, hidden_in_value
from rewake.signing.secret import Secret
from rewake.values.redaction import REDACTED, hidden_in_schema, redacted
from rewake.values.run_codec import RunCodec
from rewake.views.values import rendered

Word = Annotated[str, secret]
T = TypeVar("T")


@dataclasses.dataclass
class Login:
    user: str
    password: Word
    pin: int = dataclasses.field(default=0, metadata={"secret": True})


class Struct(msgspec.Struct, rename="camel"):
    user_name: str
    pass_word: Word = ""


class Row(msgspec.Struct, array_like=True):
    user: str
    password: Word


class Pair(NamedTuple):
    user: str
    password: Word


class Options(TypedDict):
    password: NotRequired[Word]
    login: Login


@attrs.define
class Attrs:
    user: str
    password: Word
    pin: int = attrs.field(default=0, metadata={"secret": True})


class Model(pydantic.BaseModel):
    user: str
    token: pydantic.SecretStr
    password: Word = pydantic.Field(alias="pass")
    pin: str = pydantic.Field(default="", json_schema_extra={"writeOnly": True})


@dataclasses.dataclass
class Node:
    word: Word
    below: list[Node]


@dataclasses.dataclass
class Plain:
    name: str
    below: list[Plain]


@dataclasses.dataclass
class Box(Generic[T]):
    inside: T


Named = NewType("Named", Login)


@pytest.mark.parametrize(
    ("hint", "parts"),
    [
        (str, []),
        (None, []),
        (Any, []),
        (list[int], []),
        (Plain, []),
        (Word, [""]),
        (pydantic.SecretStr, [""]),
        (Word | None, [""]),
        (list[Word], ["/*"]),
        (tuple[int, Word], ["/*"]),
        (Mapping[str, Sequence[Word]], ["/*/*"]),
        (Login, ["/password", "/pin"]),
        (Login | None, ["/password", "/pin"]),
        (Annotated[Login, "about"], ["/password", "/pin"]),
        (Annotated[Login, secret], [""]),
        (Named, ["/password", "/pin"]),
        (dict[str, list[Login]], ["/*/*/password", "/*/*/pin"]),
        (Struct, ["/passWord", "/pass_word", "/1"]),
        (Row, ["/password", "/1"]),
        (Pair, ["/password", "/1"]),
        (Options, ["/password", "/login/password", "/login/pin"]),
        (Attrs, ["/password", "/pin"]),
        (Model, ["/token", "/password", "/pass", "/pin"]),
        (Node, ["/word", "/below/*"]),
        (Box[Word], ["/inside"]),
        (Box[int], []),
    ],
)
def test_the_secret_parts_of_a_type(hint: Any, parts: list[str]) -> None:
    """Whatever way a part is marked, in whatever a type is made of, it is found."""
    assert sorted(hidden_in(hint)) == sorted(parts)


def login(user: str, password: Word, /, *more: Word, pin: Word = "", **others: Word) -> None:
    """A function of which almost everything is secret."""


def test_the_secret_arguments_of_a_call() -> None:
    """By place and by name, however a function takes them."""
    parts = hidden_in_call(login)
    call: Any = [["ann", "a", "b", "c"], {"pin": "d", "other": "e"}]
    shown = msgspec.json.decode(redacted(msgspec.Raw(msgspec.json.encode(call)), parts))
    # Where some of `*more` are secret, all by place are hidden.
    assert shown == [[REDACTED] * 4, {"pin": REDACTED, "other": REDACTED}]
    assert not hidden_in_call(lambda password: password)


OBJECTS = [
    Login("ann", "x", 3),
    Struct("ann", "x"),
    Pair("ann", "x"),
    Attrs("ann", "x", 3),
    Node("x", [Node("y", [])]),
    Model.model_validate({"user": "ann", "token": "x", "pass": "x"}),
    pydantic.SecretStr("x"),
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("within", [lambda v: v, lambda v: [1, {"a": (v,)}], Box])
def test_the_secret_parts_of_an_object(value: Any, within: Any) -> None:
    """An object where no type says what it is: its class says what is secret in it."""
    assert hidden_in_value(within(value))
    assert not hidden_in_value(within(Plain("ann", [])))


class Tier(enum.Enum):
    FIRST = "first"


@pytest.mark.parametrize(
    "key", [Tier.FIRST, datetime(2026, 1, 2, tzinfo=UTC), timedelta(days=1), b"a", 1]
)
def test_a_secret_behind_a_key_that_is_no_text(key: Any) -> None:
    """However JSON spells the key of a dict, what is secret below it is hidden."""
    value = {key: Login("ann", "canary")}
    assert b"canary" not in bytes(redacted(rendered(value), hidden_in_value(value)))


def within_itself(value: Any) -> SimpleNamespace:
    made = SimpleNamespace(value=value)
    made.itself = made
    return made


@pytest.mark.parametrize("around", [ValueError, lambda v: deque([v]), within_itself])
def test_a_secret_in_an_object_that_is_shown_by_its_text(around: Any) -> None:
    """Of an object that is shown by its text the text is hidden, if there is a secret in it."""
    value = {"a": around([Login("ann", "canary")]), "b": around([Plain("ann", [])])}
    shown = bytes(redacted(rendered(value), hidden_in_value(value)))
    assert b"canary" not in shown
    assert b"Plain" in shown


class Raising(type):
    """Of a class that cannot be looked at."""

    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Closed(metaclass=Raising):
    pass


class Opaque:
    _fields = ("inside",)

    @property
    def inside(self) -> Any:
        raise RuntimeError


def test_what_cannot_be_looked_at_is_not_shown() -> None:
    """A class or an object whose own code raises fails nothing, and is hidden as a whole."""
    assert hidden_in(Closed) == ("",)
    assert hidden_in_value([Opaque()]) == ("",)


@task
async def pins(pin: Annotated[int, secret], amount: int) -> None:
    """Numbers are told where arguments differ, but not of such a task."""


def test_a_difference_tells_no_secret() -> None:
    """Where a replay asks with other arguments, only the place is named: it goes to the log."""
    codec = RunCodec(Secret("a secret of some length"), "r")
    recorded = codec.encode([[4711, 1], {}], key="k", purpose="call")
    assert pins.compare(codec, {"pin": 4712, "amount": 1}, "k", recorded) == "pin differs"


def test_a_class_that_is_pickled_with_its_code_keeps_its_marks() -> None:
    """One within a function is another class to who reads it, and marks what it did."""
    local = dataclasses.make_dataclass("Local", [("pin", Annotated[int, secret])])
    codec = RunCodec(Secret("a secret of some length"), "r")
    stored = codec.encode(local(4711), key="k", purpose="result")
    assert hidden_in_value(codec.decode(stored, key="k", purpose="result")) == ("/pin",)


@task
async def untyped(login):  # type: ignore[no-untyped-def]  # as people write
    """What its argument is no type says."""


def test_a_difference_tells_no_secret_of_an_object() -> None:
    """Nor where its class alone marks it."""
    codec = RunCodec(Secret("a secret of some length"), "r")
    recorded = codec.encode([[Login("ann", "", 4711)], {}], key="k", purpose="call")
    asked = {"login": Login("ann", "", 4712)}
    assert untyped.compare(codec, asked, "k", recorded) == "login.pin differs"


def shown(data: Any, *parts: str) -> Any:
    """What is shown of data."""
    return msgspec.json.decode(redacted(msgspec.Raw(msgspec.json.encode(data)), parts))


def test_what_is_hidden() -> None:
    """Each part that is named, whatever is there; what is not there is no error."""
    assert shown({"a": 1}) == {"a": 1}
    assert shown({"a": 1}, "") == REDACTED
    assert shown({"a": None, "b": [1, {"c": 2}]}, "/a", "/b/*/c", "/x/y") == {
        "a": REDACTED,
        "b": [1, {"c": REDACTED}],
    }
    assert shown([1, 2], "/1", "/5") == [1, REDACTED]
    assert shown({"a/b": {"~": 1}}, "/a~1b/~0") == {"a/b": {"~": REDACTED}}
    # Of an object that is shown by its repr nobody knows where in that it is.
    assert shown([{"$type": "a.B", "repr": "B(password='x')"}], "/*/password") == [
        {"$type": "a.B", "repr": REDACTED}
    ]


def test_the_secret_parts_of_a_schema() -> None:
    """Fields that a schema says are written only, or typed in as passwords."""
    schema = {
        "properties": {
            "user": {"type": "string"},
            "password": {"type": "string", "format": "password"},
            "keys": {"type": "array", "items": {"type": "string", "writeOnly": True}},
            "login": {"$ref": "#/$defs/Login"},
            "any": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Login"}]},
        },
        "$defs": {
            "Login": {
                "properties": {"pin": {"writeOnly": True}, "again": {"$ref": "#/$defs/Login"}}
            }
        },
    }
    assert hidden_in_schema(schema) == ("/password", "/keys/*", "/login/pin", "/any/pin")
    assert hidden_in_schema(None) == ()
