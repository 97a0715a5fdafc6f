"""`event`: that events start runs of a workflow, or cancel them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rewake.authoring.hints import signature_of
from rewake.authoring.inputs import Inputs
from rewake.errors import AppError, InvalidInput
from rewake.records import Millis
from rewake.values.matching import (
    LONGEST_TEXT,
    canonical,
    checked_name,
    checked_where,
    texts_at,
    texts_of,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """An event, as a function of the app is told of it. `published` is aware and in UTC."""

    name: str
    id: str
    data: Any
    at: Millis

    @property
    def published(self) -> datetime:
        """When it was published."""
        return _EPOCH + timedelta(milliseconds=self.at)


Arguments = Callable[[Event], "Mapping[str, Any] | None"]


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Which events start runs of a workflow, or cancel them. Made by `event`."""

    name: str
    where: Mapping[str, Any]
    arguments: Arguments | None

    def takes(self, name: str, data: Any) -> bool:
        """Whether this is one of those that start a run."""
        wanted = texts_of(self.where)
        return name == self.name and texts_at(data, list(wanted)) == wanted

    def arguments_of(self, inputs: Inputs, event: Event) -> Mapping[str, Any] | None:
        """The arguments of the run that an event starts; None: it is not for us.

        Raises `InvalidInput`, and what the app's function raises.
        """
        if self.arguments is None:
            if not isinstance(event.data, Mapping):
                raise InvalidInput("its data is no object, whose fields would be the arguments")
            return inputs.known(event.data)
        made = self.arguments(event)
        if not (made is None or isinstance(made, Mapping)):
            raise InvalidInput(f"arguments= returned {type(made).__name__}, and not a dict or None")
        return made

    def texts_of(self, function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, str]:
        """What fields of an event must be to cancel a run of this function, given these arguments.

        Raises `InvalidInput` for an argument that no field can be compared with.
        """
        found: dict[str, str] = {}
        for field, path in sorted(self.where.items()):
            value = _argument(function, given, path)
            text = canonical(value)
            if text is None:
                told = f"a text of at most {LONGEST_TEXT} bytes, a number, a truth value or None"
                name = type(value).__name__
                raise InvalidInput(
                    f"{path} is compared with events {self.name!r}, so it is {told}, not {name}",
                    field=path,
                )
            found[field] = text
        return found

    def check_parameters(self, workflow: str, function: Callable[..., Any]) -> None:
        """Raise `AppError` unless each argument that `where` names is one of the function."""
        signature = signature_of(function)
        known = {} if signature is None else signature.parameters
        if any(each.kind is each.VAR_KEYWORD for each in known.values()):
            return
        for path in map(str, self.where.values()):
            if path.partition(".")[0] not in known:
                names = ", ".join(known) or "none"
                told = f"cancel_on: workflow {workflow!r} has no parameter {path!r}"
                raise AppError(f"{told} (it has: {names})")


def event(
    name: str,
    /,
    *,
    where: Mapping[str, Any] | None = None,
    arguments: Arguments | None = None,
) -> EventTrigger:
    """Events of this name, for `@workflow(on_event=...)` or `cancel_on=...`.

        @workflow(
            on_event=event("order.placed", where={"country": "CH"}),
            cancel_on=event("order.cancelled", where={"order": "order"}),
        )
        async def ship(order: int) -> None: ...

    With `on_event`, an event starts one run: the fields of its data are the arguments, and what
    the workflow does not take is ignored; or `arguments` makes them of the `Event`, or says None:
    not for us. `where` says what fields must be.
    With `cancel_on`, `where` says which parameter of the run (`order`, or `order.id`) each field
    must be equal to.

    Raises `AppError` for a name or `where` that cannot be.
    """
    if arguments is not None and not _is_plain(arguments):
        raise AppError(f"event {name!r}: arguments= is a function of the event, and not async")
    try:
        return EventTrigger(checked_name(name), checked_where(where), arguments)
    except InvalidInput as error:
        raise AppError(f"event {name!r}: {error}") from None


def triggers_of(option: str, given: object) -> tuple[EventTrigger, ...]:
    """What an option says: names, triggers, or lists of them. Raises `AppError`."""
    made: list[EventTrigger] = []
    for each in given if isinstance(given, list | tuple) else [given]:
        found = event(each) if isinstance(each, str) else each
        if not isinstance(found, EventTrigger):
            raise AppError(f"{option}= is the name of an event, an event(...), or a list of these")
        made.append(found)
    if option == "cancel_on" and any(each.arguments for each in made):
        raise AppError("cancel_on: an event that cancels makes no arguments")
    return tuple(made)


def _is_plain(function: object) -> bool:
    return callable(function) and not inspect.iscoroutinefunction(function)


def _argument(function: Callable[..., Any], given: Mapping[str, Any], path: str) -> Any:
    """What a run is given at this path, or the default of that parameter."""
    name, _, rest = path.partition(".")
    signature = signature_of(function)
    parameters = {} if signature is None else signature.parameters
    found = given[name] if name in given else getattr(parameters.get(name), "default", None)
    for part in rest.split(".") if rest else ():
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
    return found
