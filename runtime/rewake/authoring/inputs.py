"""The input of a workflow's runs: its parameters by name, and what each of them takes."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rewake.authoring.conversion import Converter, Converters, as_it_is
from rewake.authoring.fields import fields_of
from rewake.authoring.hints import hints_of, signature_of
from rewake.authoring.marking import hidden_in
from rewake.errors import AppError, InvalidInput, UsageError
from rewake.values.nested import json_of
from rewake.values.pointers import pointer
from rewake.values.redaction import ANY


class Inputs:
    """What a workflow takes. Raises `AppError` for a type that no input can be converted to."""

    def __init__(self, workflow: str, function: Callable[..., Any]) -> None:
        self._workflow = workflow
        self._hints = hints_of(function)
        self._converters = Converters()
        self._required: list[str] = []
        self._named: dict[str, Converter] = {}
        self._rest: Converter | None = None
        self.hidden: tuple[str, ...] = ()
        """The secret parts of an input."""
        signature = signature_of(function)
        if signature is None:
            self._rest = as_it_is
        for parameter in signature.parameters.values() if signature else ():
            self._add(parameter)

    def convert(self, given: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
        """The arguments of the function. Raises `InvalidInput`; `field` names what does not fit."""
        for name in given:
            if name not in self._named and self._rest is None:
                known = ", ".join(self._named) or "none"
                raise InvalidInput(
                    f"workflow {self._workflow!r} has no parameter {name!r} (it has: {known})",
                    field=name,
                )
        for name in self._required:
            if name not in given:
                raise InvalidInput(f"the argument {name!r} is missing", field=name)
        rest = self._rest or as_it_is
        try:
            return {
                name: self._named.get(name, rest)(value, name, strict)
                for name, value in given.items()
            }
        except InvalidInput as error:
            raise self._told(error) from None

    def _told(self, error: InvalidInput) -> InvalidInput:
        """The error; of what is secret nothing but where it is, and which name is wrong there."""
        name = re.split(r"[.\[]", error.field, maxsplit=1)[0]
        is_hidden = any(path.split("/")[1] in (name, ANY) for path in self.hidden)
        if error.names_only or not is_hidden:
            return error
        return InvalidInput(f"{error.field}: it does not fit its type", field=error.field)

    def known(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What of this the function takes."""
        return {
            name: value
            for name, value in given.items()
            if name in self._named or self._rest is not None
        }

    def of_texts(self, given: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """The fields of a form as the data of an input, for in a form everything is a text.

        A text is kept if its parameter takes one. Else it is what the same text is in JSON, nothing
        if it is empty, or the one item of a list. What fits in no way is left for `convert`.
        """
        return {name: self._of_texts(name, texts) for name, texts in given.items()}

    def _of_texts(self, name: str, texts: Sequence[str]) -> Any:
        read = [_json_or_text(each) for each in texts]
        readings: list[Any] = [list(texts), read]
        if len(texts) == 1:
            readings = [texts[0], read[0], *([None] if not texts[0] else []), *readings]
        convert = self._named.get(name, self._rest or as_it_is)
        for each in readings:
            with suppress(InvalidInput):
                convert(each, name, False)
                return each
        return read[0] if isinstance(read[0], (dict, list)) else readings[0]

    def _add(self, parameter: inspect.Parameter) -> None:
        name = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            return  # an input has names only
        hint = self._hint(parameter)
        if parameter.kind is parameter.VAR_KEYWORD:
            if typing.get_origin(hint) is typing.Unpack:
                self._add_fields(typing.get_args(hint)[0], name)
            else:
                self._rest = self._converter(hint, name)
                self._hide(ANY, hint)
            return
        self._named[name] = self._converter(hint, name)
        self._hide(name, hint)
        if parameter.default is parameter.empty:
            self._required.append(name)

    def _add_fields(self, kind: Any, name: str) -> None:
        """The fields of `**options: Unpack[Options]`, which are parameters like others."""
        origin = typing.get_origin(kind) or kind
        for each in fields_of(origin, typing.get_args(kind)) or ():
            self._named[each.name] = self._converter(each.hint, name)
            self._hide(each.name, each.hint)
            if each.required:
                self._required.append(each.name)

    def _hide(self, name: str, hint: Any) -> None:
        self.hidden += tuple(pointer(name) + path for path in hidden_in(hint))

    def _hint(self, parameter: inspect.Parameter) -> Any:
        if parameter.annotation is parameter.empty:
            return Any
        if parameter.name not in self._hints:
            annotation = inspect.formatannotation(parameter.annotation).strip("'")
            raise AppError(
                f"{self._where(parameter.name)} has the type {annotation}, which cannot be "
                "resolved: import or define it in the module, not only under TYPE_CHECKING"
            )
        return self._hints[parameter.name]

    def _converter(self, hint: Any, name: str) -> Converter:
        try:
            return self._converters.of(hint)
        except AppError as error:
            raise AppError(f"{self._where(name)} cannot be part of an input: {error}") from error

    def _where(self, name: str) -> str:
        return f"workflow {self._workflow!r}: the parameter {name!r}"


def _json_or_text(text: str) -> Any:
    try:
        return json_of(text)
    except ValueError:
        return text


def arguments_of(workflow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name. Raises `TypeError`, as the call would, and `UsageError`."""
    if not hasattr(workflow, "function"):
        raise UsageError(f"{workflow!r} is no workflow: by a name, say start(name, input, key=…)")
    found: dict[str, Any] = workflow.named(args, kwargs)
    return found
