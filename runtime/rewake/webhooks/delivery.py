"""A delivery: one request that reached a webhook, as the functions of an app see it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rewake.errors import InvalidInput
from rewake.records import Millis
from rewake.values.nested import json_of
from rewake.webhooks.bodies import File, Form, form_of, is_form
from rewake.webhooks.fields import Fields

__all__ = ["Delivery", "File"]

_READ_FROM_IT = ("json", "form", "files", "_parsed")


class Delivery:
    """One request to a webhook. `body` is what was sent, byte for byte; the rest is read from it.
    A secret by which it proved who sent it is not in its body any more once it is verified.

    `path` is that of the hook, without `/hooks/`. Names of `headers` have no case. `id` is the
    provider's name of the delivery, once it is verified; None if it has none.

    A test makes one itself: `Delivery("orders", body=b"{}", headers=[("X-Event", "paid")])`.
    """

    def __init__(
        self,
        path: str,
        *,
        body: bytes = b"",
        method: str = "POST",
        headers: Iterable[tuple[str, str]] = (),
        query: Iterable[tuple[str, str]] = (),
        received: Millis = 0,
    ) -> None:
        self.path = path
        self.method = method
        self.headers = Fields(headers, folded=True)
        self.query = Fields(query)
        self.body = body
        self.id: str | None = None
        self.received = datetime.fromtimestamp(received / 1000, UTC)

    @property
    def content_type(self) -> str:
        """The Content-Type, empty if it says none."""
        return self.headers.get("content-type", "")

    @functools.cached_property
    def json(self) -> Any:
        """The body as JSON, whatever type it says it is of. Raises `InvalidInput`."""
        try:
            return json_of(self.body)
        except ValueError as error:
            told = f"the body is not JSON: {error}"
            if is_form(self.content_type):
                told = "the body is a form and not JSON: let it be sent as application/json"
            raise InvalidInput(told) from None

    @functools.cached_property
    def form(self) -> Fields:
        """The fields of a form; none if the body is no form. Raises `InvalidInput`."""
        return Fields(self._parsed.fields)

    @functools.cached_property
    def files(self) -> dict[str, File]:
        """The files of a form by field, as bytes; of several, the first. Raises `InvalidInput`."""
        found: dict[str, File] = {}
        for name, file in self._parsed.files:
            found.setdefault(name, file)
        return found

    @functools.cached_property
    def _parsed(self) -> Form:
        return form_of(self.content_type, self.body)

    def replace(self, body: bytes) -> None:
        """Take this for its body."""
        if body != self.body:
            self.body = body
            for name in _READ_FROM_IT:
                self.__dict__.pop(name, None)

    def part(self, *names: str) -> Any:
        """A part of the JSON body by the names that lead to it; None if there is no such part."""
        try:
            found = self.json
        except InvalidInput:
            return None
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def __repr__(self) -> str:
        return f"<Delivery to {self.path}, {len(self.body)} bytes>"
