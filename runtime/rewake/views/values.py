"""Values as JSON, for people to look at.

A value that was stored as JSON is passed on as it is. A pickled one is shown as JSON if it can be,
and otherwise as `{"$type": ..., "repr": ...}`; it never makes a page fail. What is secret in it is
redacted.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from rewake.authoring.marking import hidden_in_value
from rewake.errors import RewakeError
from rewake.records import Value
from rewake.signing.redacting import without_links
from rewake.signing.secret import Secret
from rewake.values.redaction import redacted
from rewake.values.run_codec import RunCodec
from rewake.values.text import storable

_LONGEST_REPR = 500
"""Characters of a `repr` that are shown."""


def rendered(value: Any) -> Raw:
    """Any Python value as JSON, for people to look at."""
    with suppress(Exception):  # user code's objects may raise anything
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_described)
        return Raw(msgspec.json.encode(plain))
    return Raw(msgspec.json.encode(_described(value)))


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
