"""What was posted, as the data that the form's schema asks for.

- What is not a field is ignored. A box that was not ticked is false.
- A field that was left blank is null where null fits, otherwise left out where it may be. Text that
  has a default and was emptied is empty text: left out, it would be the default again.
- A group that need not be there and in which nothing was answered is left out as a whole.

Nothing that is posted is more than a misfit: `parse` tells it by the path of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rewake.pages.fields import TEXTS, Field, Kind
from rewake.pages.schemas import root_field
from rewake.pages.typed import MisfitError, check_count, plain_text, value_of

Form = Mapping[str, Sequence[str]]

LEFT_OUT: Final = object()
"""The value of what is not there."""

_ABSENT: Final = {
    Kind.CHOICE: "Choose one.",
    Kind.CHOICES: "Choose at least one.",
    Kind.BOOLEAN: "Tick this to go on.",
}


def parse(schema: Mapping[str, Any] | None, form: Form) -> tuple[Any, dict[str, str]]:
    """The posted fields as JSON data, and what is wrong with them by the paths of fields."""
    if schema is None:
        return None, {}
    reader = _Reader(form)
    value = reader.read(root_field(schema))
    return (None if value is LEFT_OUT else value), reader.errors


class _Reader:
    def __init__(self, form: Form) -> None:
        self._form = form
        self.errors: dict[str, str] = {}

    def read(self, field: Field) -> Any:
        if field.kind is Kind.CONSTANT:
            return field.constant
        if field.kind is Kind.GROUP:
            return self._group(field)
        try:
            return self._leaf(field)
        except MisfitError as error:
            self.errors[field.path] = str(error)
            return LEFT_OUT

    def _group(self, field: Field) -> Any:
        if not field.required and not any(map(self._is_answered, field.leaves())):
            return None if field.nullable else LEFT_OUT
        values = [(key, self.read(member)) for key, member in field.members]
        return {key: value for key, value in values if value is not LEFT_OUT}

    def _is_answered(self, leaf: Field) -> bool:
        return any(map(str.strip, self._form.get(leaf.path, ())))

    def _leaf(self, field: Field) -> Any:
        posted = self._form.get(field.path, ())
        special = _SPECIAL.get(field.kind)
        if special is not None:
            return special(field, posted)
        text = plain_text(posted[0] if posted else "")
        if text == "" or (field.kind not in TEXTS and not text.strip()):
            return _blank(field)
        return value_of(field, text)


def _blank(field: Field) -> Any:
    """The value of a field that was left blank. Raises `MisfitError`."""
    if field.nullable:
        return None
    if field.kind is Kind.LINES and (field.required or field.default is not None):
        return value_of(field, "")
    if field.needed:
        raise MisfitError(_ABSENT.get(field.kind, "Fill this in."))
    if field.kind in TEXTS and (field.required or field.default):
        return value_of(field, "")
    return LEFT_OUT


def _boolean(field: Field, posted: Sequence[str]) -> Any:
    ticked = bool(posted) and posted[0].lower() not in {"", "false", "off", "0", "no"}
    if not ticked and field.schema.get("const") is True and field.required:
        raise MisfitError(_ABSENT[Kind.BOOLEAN])
    return ticked


def _chosen(field: Field, posted: Sequence[str]) -> list[Any]:
    """What was chosen, each once, in the form's order. Raises `MisfitError`."""
    wanted = {each for each in posted if each}
    found = [each for each in field.choices if each.token in wanted]
    if len(found) < len(wanted):
        raise MisfitError("Choose from what there is.")
    return [each.value for each in found]


def _choice(field: Field, posted: Sequence[str]) -> Any:
    chosen = _chosen(field, posted[:1])
    return chosen[0] if chosen else _blank(field)


def _choices(field: Field, posted: Sequence[str]) -> Any:
    chosen = _chosen(field, posted)
    if not chosen:
        if field.nullable:
            return None
        if not field.required and field.default is None:
            return LEFT_OUT
        if field.count("minItems"):
            raise MisfitError(_ABSENT[Kind.CHOICES])
    check_count(field, chosen)
    return chosen


_SPECIAL: Final[Mapping[Kind, Callable[[Field, Sequence[str]], Any]]] = {
    Kind.BOOLEAN: _boolean,
    Kind.CHOICE: _choice,
    Kind.CHOICES: _choices,
}
