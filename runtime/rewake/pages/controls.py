"""Fields as controls: what the templates draw, with what stands in them and what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from rewake.pages.fields import LEAVES, TEXTS, Field, Kind
from rewake.pages.patterns import browser_pattern
from rewake.pages.prose import Piece, line, paragraphs, shown
from rewake.pages.typed import MisfitError, value_of

MOST_RADIOS: Final = 5
"""More choices than these are a list to open."""

_INPUTS: Final[Mapping[Kind, str]] = {
    Kind.TEXT: "text",
    Kind.EMAIL: "email",
    Kind.PASSWORD: "password",
    Kind.URL: "url",
    Kind.NUMBER: "number",
    Kind.INTEGER: "number",
    Kind.DATE: "date",
    Kind.DATETIME: "datetime-local",
    Kind.TIME: "time",
}
_ROWS: Final[Mapping[Kind, int]] = {Kind.MULTILINE: 4, Kind.LINES: 4, Kind.JSON: 6}
_ADVICE: Final[Mapping[Kind, str]] = {
    Kind.DATETIME: "In UTC.",
    Kind.LINES: "One a line.",
    Kind.JSON: "As JSON.",
}


class Option(msgspec.Struct, frozen=True):
    """Something to choose."""

    id: str
    token: str
    label: str
    is_chosen: bool


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """A control of the form. `shape` says how it is drawn: a macro of the templates each."""

    shape: str
    id: str
    name: str
    label: str
    help: list[list[list[Piece]]]
    advice: str
    error: str
    attributes: Mapping[str, str]
    is_optional: bool
    text: str = ""
    is_code: bool = False
    is_ticked: bool = False
    options: list[Option] = []
    members: list[Control] = []

    @property
    def focus(self) -> str:
        """The id of what a link to this control goes to."""
        return self.options[0].id if self.shape in {"radios", "checkboxes"} else self.id

    def described(self) -> str:
        """The ids of what describes it, the error first."""
        parts = {"e": self.error, "h": self.help, "a": self.advice}
        return " ".join(f"{self.id}-{part}" for part, there in parts.items() if there)

    def all(self) -> Iterator[Control]:
        """It and what is in it, in the order of the page."""
        yield self
        for member in self.members:
            yield from member.all()


class Drawing:
    """Draws the fields of one form. What was `typed`, if anything, stands in place of defaults."""

    def __init__(
        self, typed: Mapping[str, Sequence[str]] | None, errors: Mapping[str, str]
    ) -> None:
        self._typed = typed
        self._errors = errors
        self._drawn = 0

    def control(self, field: Field, is_asked: bool = True) -> Control:
        """The control of a field. Not `is_asked`: in a group that may be left blank as a whole."""
        self._drawn += 1
        id_ = f"f{self._drawn}"
        shape = _shape(field)
        text = self._text(field)
        return Control(
            shape=shape,
            id=id_,
            name=field.path,
            label=line(field.label),
            help=paragraphs(field.help),
            advice=_ADVICE.get(field.kind, ""),
            error=shown(self._errors.get(field.path, "")),
            attributes=_attributes(field, text, is_asked),
            is_optional=not field.needed and field.kind is not Kind.BOOLEAN,
            text=text,
            is_code=field.kind is Kind.JSON,
            is_ticked=field.kind is Kind.BOOLEAN and self._is_ticked(field),
            options=self._options(field, id_, shape),
            members=[
                self.control(member, is_asked and field.needed)
                for _, member in field.members
                if member.kind is not Kind.CONSTANT
            ],
        )

    def _text(self, field: Field) -> str:
        if field.kind not in LEAVES and field.kind not in _ROWS:
            return ""
        if field.is_secret:  # never on a page, also not as a default
            return ""
        if self._typed is None:
            return _default_text(field)
        posted = self._typed.get(field.path, ())
        return posted[0] if posted else ""

    def _is_ticked(self, field: Field) -> bool:
        if self._typed is None:
            return field.default is True
        return bool(self._typed.get(field.path))

    def _options(self, field: Field, id_: str, shape: str) -> list[Option]:
        if self._typed is not None:
            chosen = set(self._typed.get(field.path, ()))
        else:
            chosen = _default_tokens(field)
        options = [
            Option(f"{id_}-{number}", each.token, line(each.label), each.token in chosen)
            for number, each in enumerate(field.choices, 1)
        ]
        if shape == "radios" and not field.needed:
            is_blank = not any(each.is_chosen for each in options)
            options.append(Option(f"{id_}-0", "", "No answer", is_blank))
        return options


def _shape(field: Field) -> str:
    if field.kind is Kind.CHOICE:
        return "radios" if len(field.choices) <= MOST_RADIOS else "select"
    shapes = {Kind.GROUP: "group", Kind.BOOLEAN: "checkbox", Kind.CHOICES: "checkboxes"}
    return shapes.get(field.kind) or ("textarea" if field.kind in _ROWS else "input")


# --- what stands there from the beginning ------------------------------------------------------


def _default_text(field: Field) -> str:
    default = field.default
    if default is None:
        return ""
    if field.kind is Kind.JSON:
        return _json(default)
    if field.kind is Kind.LINES:
        lines = default if isinstance(default, list) else []
        return "\n".join(str(each) for each in lines)
    if field.kind is Kind.DATETIME:
        return _local(default)
    is_scalar = isinstance(default, (str, int, float)) and type(default) is not bool
    return str(default) if is_scalar else ""


def _json(value: Any) -> str:
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except (TypeError, ValueError, RecursionError):
        return ""


def _local(default: Any) -> str:
    """A moment as the control of a browser has it: in UTC, without saying so."""
    try:
        moment = datetime.fromisoformat(default)
        moment = moment.astimezone(UTC) if moment.tzinfo is not None else moment
    except (TypeError, ValueError, OverflowError):
        return ""
    return moment.replace(tzinfo=None).isoformat(timespec="auto" if moment.second else "minutes")


def _default_tokens(field: Field) -> set[str]:
    values = field.default if field.kind is Kind.CHOICES else [field.default]
    told = [(type(each), each) for each in values] if isinstance(values, list) else []
    return {each.token for each in field.choices if (type(each.value), each.value) in told}


# --- attributes --------------------------------------------------------------------------------


def _attributes(field: Field, text: str, is_asked: bool) -> dict[str, str]:
    """The attributes of a control that its schema asks for."""
    found: dict[str, str] = {}
    is_needed = field.required and field.schema.get("const") is True
    if is_asked and (is_needed if field.kind is Kind.BOOLEAN else field.needed):
        found["required"] = ""
    if field.kind in TEXTS:
        found |= _lengths(field)
    if field.kind in (Kind.NUMBER, Kind.INTEGER):
        found |= _bounds(field)
    if field.kind in (Kind.DATETIME, Kind.TIME):
        found["step"] = "any"
    if field.kind in _ROWS:
        found["rows"] = str(_ROWS[field.kind])
    if field.kind in _INPUTS:
        found["type"] = _INPUTS[field.kind] if _holds(field, text) else "text"
        found |= {"type": "password"} if field.is_secret else {}
    return found


def _holds(field: Field, text: str) -> bool:
    """Whether the browser's control for it can hold the text; it drops what it cannot."""
    if field.kind in TEXTS or not text:
        return True
    bare = msgspec.structs.replace(field, schema={})
    try:
        value_of(bare, text)
    except MisfitError:
        return False
    return text[-1].isdigit() and not text.startswith("+")


def _lengths(field: Field) -> dict[str, str]:
    found = {}
    for attribute, name in (("minlength", "minLength"), ("maxlength", "maxLength")):
        count = field.count(name)
        if count:
            found[attribute] = str(count)
    pattern = field.schema.get("pattern")
    if field.kind is not Kind.MULTILINE and isinstance(pattern, str):
        written = browser_pattern(pattern)
        if written is not None:
            found["pattern"] = written
    return found


def _bounds(field: Field) -> dict[str, str]:
    is_whole = field.kind is Kind.INTEGER
    found = {"inputmode": "numeric" if is_whole else "decimal"}
    least, most = field.limit("minimum"), field.limit("maximum")
    above, below = field.limit("exclusiveMinimum"), field.limit("exclusiveMaximum")
    if is_whole:
        least = _whole(least, math.ceil) if above is None else math.floor(above) + 1
        most = _whole(most, math.floor) if below is None else math.ceil(below) - 1
    else:
        least, most = above if least is None else least, below if most is None else most
    found |= {"min": str(least)} if least is not None else {}
    found |= {"max": str(most)} if most is not None else {}
    # Browsers count steps from the least.
    step = field.limit("multipleOf")
    is_counted = step is not None and step > 0 and least == 0
    found["step"] = str(step) if is_counted else "1" if is_whole else "any"
    return found


def _whole(bound: float | None, rounded: Callable[[float], int]) -> int | None:
    return None if bound is None else rounded(bound)
