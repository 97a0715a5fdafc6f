"""Values as JSON, for people to look at.

A value that was stored as JSON is passed on as it is. A pickled one is shown as JSON if it can be,
and otherwise as `{"$type": ..., "repr": ...}`; it never makes a page fail. What is secret in it is
redacted. A model of pydantic is shown by its fields, as its schema has them and as clients read it
again, and not by its own serializers: they may put what is secret where nobody looks for it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from rewake.authoring.marking import hidden_in_value, names_in_json
from rewake.errors import RewakeError
from rewake.records import Value
from rewake.signing.redacting import without_links
from rewake.signing.secret import Secret
from rewake.values.data import has_bytes, text_of, with_texts
from rewake.values.redaction import redacted
from rewake.values.run_codec import RunCodec
from rewake.values.text import storable

_LONGEST_REPR = 500
"""Characters of a `repr` that are shown."""


def rendered(value: Any) -> Raw:
    """Any Python value as JSON, for people to look at."""
    with suppress(Exception):  # user code's objects may raise anything
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_shown)
        return Raw(msgspec.json.encode(plain))
    return Raw(msgspec.json.encode(_described(value)))


def _shown(value: Any) -> Any:
    """What is shown of an object that msgspec does not know."""
    if hasattr(value, "get_secret_value"):
        return _described(value)
    fields = getattr(type(value), "__pydantic_fields__", None)
    if not isinstance(fields, dict):
        return text_of(value) or _described(value)
    if "root" in fields:  # it is what it holds, where nothing secret would have to be found
        return _described(value) if hidden_in_value(value) else _parts(value)["root"]
    parts = _parts(value)
    shown = {names_in_json(name, fields[name])[0]: each for name, each in parts.items()}
    return shown | (value.__pydantic_extra__ or {})


def _parts(model: Any) -> dict[str, Any]:
    """The fields of a model, with texts for bytes, as it reads them."""
    fields = type(model).__pydantic_fields__
    found = {name: getattr(model, name) for name, info in fields.items() if not info.exclude}
    if not any(map(has_bytes, found.values())):
        return found
    told = model.model_dump(round_trip=True, mode="json")
    told = told if isinstance(told, dict) else {"root": told}
    return {name: with_texts(each, told[name]) for name, each in found.items()}


def _described(value: Any) -> dict[str, str]:
    kind = type(value)
    try:
        text = repr(value)
    except Exception as error:
        text = f"<its repr() raised {type(error).__name__}>"
    text = storable(text[:_LONGEST_REPR])
    return {"$type": f"{kind.__module__}.{kind.__qualname__}", "repr": text}


class Values:
    """Shows the values of one run.

    `sealed`: it began encrypted, so that a plain one is forged. `said`: they are what the run says
    to whoever follows it, and has the links that it says; of others links are no links any more.
    """

    def __init__(
        self, secret: Secret, run: str, *, sealed: bool = False, said: bool = False
    ) -> None:
        self.run = run
        self._said = said
        self._codec = RunCodec(secret, run, sealed=sealed)

    def opened(self, value: Value, *, key: str, purpose: str) -> Value:
        """The value without the payload codec. Raises `CheckpointUnreadable`."""
        return self._codec.opened(value, key=key, purpose=purpose)

    def show(self, value: Value, *, key: str, purpose: str) -> Raw:
        """The value as JSON; of one that cannot be read, that."""
        try:
            shown = self.read(value, key=key, purpose=purpose)
        except RewakeError as error:
            shown = Raw(msgspec.json.encode({"$unreadable": str(error)}))
        return shown if self._said else Raw(without_links(bytes(shown).decode()).encode())

    def read(self, value: Value, *, key: str, purpose: str) -> Raw:
        """The value as JSON. Raises `CheckpointUnreadable`."""
        found = self._codec.opened(value, key=key, purpose=purpose)
        if found.codec != "pickle":
            return redacted(found.body, found.hidden)
        whole = self._codec.decode(found, key=key, purpose=purpose)
        return redacted(rendered(whole), (*found.hidden, *hidden_in_value(whole)))
