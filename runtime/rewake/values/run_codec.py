"""The values of one run, as data: `rewake.values.codecs`, bound to the run and the app's secret."""

from __future__ import annotations

from typing import Any

from rewake.records import Value
from rewake.signing.secret import Secret
from rewake.values import codecs


class RunCodec:
    """The codec of one run, as `rewake.replay.program.Codec` describes it."""

    __slots__ = ("_run", "_secret")

    def __init__(self, secret: Secret, run: str) -> None:
        self._secret = secret
        self._run = run

    def encode(self, value: Any, *, key: str, purpose: str, hint: Any = None) -> Value:
        return codecs.encode(
            value, hint=hint, secret=self._secret, run=self._run, key=key, purpose=purpose
        )

    def decode(self, value: Value, *, key: str, purpose: str, hint: Any = None) -> Any:
        return codecs.decode(
            value, hint=hint, secret=self._secret, run=self._run, key=key, purpose=purpose
        )
