"""Models of pydantic, and objects that are texts in JSON, from a client to a body and back."""

from __future__ import annotations

import types
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Any

import pydantic

from rewake import updates, workflow
from rewake.testing import Environment


class Parcel(pydantic.BaseModel, extra="forbid", populate_by_name=True):
    to: pydantic.HttpUrl
    address: IPv4Address
    label: bytes = pydantic.Field(b"", alias="labelText")
    parts: dict[str, list[bytes]] = {}
    sealed: pydantic.Base64Bytes = b""
    sizes: pydantic.Json[list[int]] = []
    code: pydantic.SecretBytes = pydantic.SecretBytes(b"")

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def weight(self) -> int:
        return sum(self.sizes)


PARCEL: dict[str, Any] = {
    "to": "http://a.example/b",
    "address": "10.0.0.1",
    "label": b"abc",
    "parts": {"a": [b"one", b"two"]},
    "sealed": b"YWJj",
    "sizes": "[1, 2]",
    "code": b"canary",
}


@workflow
async def opens(parcel: Parcel, at: PurePosixPath) -> list[str]:
    texts = [*parcel.parts["a"], parcel.label, parcel.sealed, parcel.code.get_secret_value()]
    told = [each.decode() for each in texts]
    return [*told, str(parcel.to), str(parcel.address), str(parcel.weight), str(at)]


def app(*workflows: Any) -> types.ModuleType:
    made = types.ModuleType("post")
    vars(made).update({each.name: each for each in workflows})
    return made


def test_a_body_gets_the_model_that_was_sent() -> None:
    """Its bytes are what they were, what pydantic knows as a text is sent as one, and what a model
    computes is not sent.
    """
    with Environment(app(opens)) as env:
        run = env.start(opens, Parcel(**PARCEL), PurePosixPath("/a/b"))
        assert run.result() == [
            *("one", "two", "abc", "abc", "canary"),
            *("http://a.example/b", "10.0.0.1", "3", "/a/b"),
        ]


class Row(pydantic.RootModel[list[int]]):
    pass


class Note(pydantic.BaseModel):
    text: str = pydantic.Field(default="", alias="noteText")
    raw: bytes = b""
    row: Row = Row([])
    code: pydantic.SecretStr = pydantic.SecretStr("")
    inside: Any = None
    hidden: str = pydantic.Field(default="", exclude=True)


@workflow
async def notes(count: int) -> list[Note]:
    return [Note(noteText="x", raw=b"abc", row=Row([1]), hidden="canary")] * count


@workflow
async def path() -> PurePosixPath:
    return PurePosixPath("/a/b")


@workflow
async def nested() -> Note:
    return Note(code=pydantic.SecretStr("canary"), inside=Note(code=pydantic.SecretStr("canary")))


def test_a_client_gets_the_model_that_was_returned() -> None:
    """Over HTTP it is an object as its schema has it, of which the client makes the model again."""
    with Environment(app(notes, path)) as env:
        run = env.start(notes, 2)
        code = pydantic.SecretStr("[redacted]")
        assert run.result() == [Note(noteText="x", raw=b"abc", row=Row([1]), code=code)] * 2
        shown = {"noteText": "x", "raw": "abc", "row": [1], "code": "[redacted]", "inside": None}
        assert env.result(run.id) == [shown] * 2
        assert env.start(path).result() == PurePosixPath("/a/b")


def test_what_is_secret_in_a_model_is_hidden() -> None:
    """Also in a model within it of which no type says that it is there, under its alias."""
    with Environment(app(nested)) as env:
        run = env.start(nested)
        shown = env.result(run.id)
        assert (shown["code"], shown["inside"]["code"]) == ("[redacted]", "[redacted]")
        assert "canary" not in str([*env.operations(run.id), *env.history(run.id), run.get()])


@workflow
async def answers() -> None:
    async for request in updates("ask"):
        request.accept(Note(noteText="x", code=pydantic.SecretStr("canary")))
        return


def test_what_is_secret_in_an_answer_is_hidden() -> None:
    """Its sender is told what it is, and whoever looks at the run is not."""
    with Environment(app(answers)) as env:
        run = env.start(answers)
        assert run.update("ask")["code"] == "canary"
        run.result()
        shown = str([*env.operations(run.id), *env.history(run.id)])
        assert "noteText" in shown
        assert "canary" not in shown
