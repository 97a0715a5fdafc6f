"""The input of the replay core: a workflow's body, and a codec of its values."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from rewake.records import Millis, Outcome, Started, Value
from rewake.replay.again import Continued
from rewake.signing.links import Link


class Codec(Protocol):
    """Turns values of one run into data and back. See `rewake.values.run_codec`."""

    def encode(
        self,
        value: Any,
        *,
        key: str,
        purpose: str,
        hint: Any = None,
        hidden: tuple[str, ...] = (),
    ) -> Value:
        """The value as data, of which people are not shown what is `hidden`.

        Raises `UsageError` if it cannot be encoded.
        """

    def decode(self, value: Value, *, key: str, purpose: str, hint: Any = None) -> Any:
        """The value that was encoded. Raises `CheckpointUnreadable`."""

    def digest(self, arguments: Mapping[str, Any]) -> str:
        """The digest of these arguments in this run."""


class Links(Protocol):
    """Makes the links of one app. See `rewake.signing.links`."""

    base: str
    """The address under which new links live; empty: it is not known here."""

    @property
    def signer(self) -> str:
        """The id of the key that signs new links."""

    def url(self, base: str, link: Link) -> str:
        """The link as an address. Raises `ReadableElsewhere` if its key is not known here."""


class Program(Protocol):
    """One workflow, as an execution runs it. The engine supplies it."""

    @property
    def codec(self) -> Codec:
        """The codec for values of this run."""

    @property
    def links(self) -> Links:
        """The maker of links."""

    @property
    def package(self) -> str:
        """The package, or the module, that the workflow is in: the first part of its name."""

    @property
    def tenant(self) -> str:
        """Whose run it is; empty: nobody's in particular."""

    def veil(self, key: str) -> str:
        """A digest of the key of a limit, if nobody may read it in the store; else empty."""

    def is_registered(self, task: object) -> bool:
        """Whether every replica finds this task, or workflow, by its name."""

    def function_of(self, workflow: str) -> Callable[..., Any]:
        """The function of the workflow of this name; one that says nothing if there is none."""

    def body(self, started: Started) -> Coroutine[Any, Any, Any]:
        """The workflow's coroutine for these arguments.

        If it raises a `StuckError` (arguments that cannot be read), the run is stuck; any other
        exception (arguments that do not fit) fails the run.
        """

    def again(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Value:
        """These arguments of the body, as the input of its next lap. Raises `InvalidInput`."""

    def retried(self, error: BaseException, now: Millis) -> Continued | None:
        """How a body that failed begins anew; None: it does not."""

    def succeed(self, result: Any) -> Outcome:
        """The outcome of a body that returned; raises if the result cannot be encoded."""

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of a body that raised."""
