"""Models of pydantic, and objects that are texts in JSON, from a client to a body and back."""

from __future__ import annotations

import types
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Any

import pydantic

from rewake import workflow
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
