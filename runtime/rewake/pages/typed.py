"""Text that was typed into a field, as a value; what does not fit is told as a sentence.

Patterns are those of the app's author, and are trusted as its code is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from rewake.pages.fields import Field, Kind

LONGEST: Final = 100_000
"""The most characters that one field is read with."""
DEEPEST_JSON: Final = 64
_LONGEST_NUMBER: Final = 300

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_A_TYPE: Final = {"object": "an object", "array": "an array", "integer": "an integer"}


class MisfitError(Exception):
    """What was typed does not fit; the text says what would."""


def plain_text(posted: str) -> str:
    """Posted text with the ends of lines as they were meant. Raises `MisfitError`."""
    if len(posted) > LONGEST:
        raise MisfitError(f"This is too long: {LONGEST:,} characters are the most.")
    try:
        posted.encode()
    except UnicodeEncodeError:
        raise MisfitError("This has characters that cannot be kept.") from None
    return posted.replace("\r\n", "\n").replace("\r", "\n")


def value_of(field: Field, text: str) -> Any:
    """The value of what was typed. Raises `MisfitError`."""
    return _READERS[field.kind](text, field)


# --- text --------------------------------------------------------------------------------------


def _text(text: str, field: Field) -> str:
    least, most = field.count("minLength"), field.count("maxLength")
    if least is not None and len(text) < least:
        raise MisfitError(f"Enter at least {least:,} characters; these are {len(text):,}.")
    if most is not None and len(text) > most:
        raise MisfitError(f"Enter at most {most:,} characters; these are {len(text):,}.")
    pattern = field.schema.get("pattern")
    if isinstance(pattern, str) and not _matches(pattern, text):
        raise MisfitError("This is not in the form that is asked for.")
    return text


def _matches(pattern: str, text: str) -> bool:
    """Whether it does; a pattern that is none asks for nothing."""
    try:
        return re.search(pattern, text) is not None
    except (re.error, OverflowError, RecursionError):
        return True


def _email(text: str, field: Field) -> str:
    address = text.strip()
    if address and not _EMAIL.fullmatch(address):
        raise MisfitError("Enter an e-mail address, such as name@example.com.")
    return _text(address, field)


def _url(text: str, field: Field) -> str:
    address = text.strip()
    try:
        is_whole = bool(urlsplit(address).scheme) and not re.search(r"\s", address)
    except ValueError:
        is_whole = False
    if address and not is_whole:
        raise MisfitError("Enter a whole address, such as https://example.com/page.")
    return _text(address, field)


# --- numbers -----------------------------------------------------------------------------------


def _decimal(text: str, told: str) -> Decimal:
    text = text.strip()
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise MisfitError(told)
    number = Decimal(text)
    if number and abs(number.adjusted()) > _LONGEST_NUMBER:
        raise MisfitError(told)
    return number


def _number(text: str, field: Field) -> float | int:
    number = _decimal(text, "Enter a number, such as 12 or 12.50.")
    _check_number(number, field)
    is_whole = text.strip().lstrip("+-").isdigit()
    return int(number) if is_whole else float(number)


def _integer(text: str, field: Field) -> int:
    number = _decimal(text, "Enter a whole number, such as 12.")
    if number != number.to_integral_value():
        raise MisfitError("Enter a whole number, such as 12.")
    _check_number(number, field)
    return int(number)


def _is_multiple(number: Decimal, of: Decimal) -> bool:
    try:
        return of <= 0 or number % of == 0
    except InvalidOperation:  # more digits apart than decimals have; floats have fewer yet
        return True


_BOUNDS: Final[Mapping[str, tuple[Callable[[Decimal, Decimal], bool], str]]] = {
    "minimum": (lambda number, bound: number >= bound, "Enter {} or more."),
    "maximum": (lambda number, bound: number <= bound, "Enter {} or less."),
    "exclusiveMinimum": (lambda number, bound: number > bound, "Enter more than {}."),
    "exclusiveMaximum": (lambda number, bound: number < bound, "Enter less than {}."),
    "multipleOf": (_is_multiple, "Enter a multiple of {}."),
}


def _check_number(number: Decimal, field: Field) -> None:
    for name, (holds, told) in _BOUNDS.items():
        bound = field.limit(name)
        if bound is not None and not holds(number, Decimal(str(bound))):
            raise MisfitError(told.format(bound))


# --- time --------------------------------------------------------------------------------------


def _date(text: str, _field: Field) -> str:
    told = "Enter a date, such as 2026-03-27."
    if not _DATE.fullmatch(text.strip()):
        raise MisfitError(told)
    try:
        return date.fromisoformat(text.strip()).isoformat()
    except ValueError:
        raise MisfitError(told) from None


def _datetime(text: str, _field: Field) -> str:
    """RFC 3339: what tells no zone is in UTC, as the form says."""
    told = "Enter a date and a time, such as 2026-03-27 14:30."
    day, clock = text.strip()[:10], text.strip()[11:]
    if not _DATE.fullmatch(day) or not _TIME.fullmatch(clock) or text.strip()[10] not in "Tt ":
        raise MisfitError(told)
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}")
    except ValueError:
        raise MisfitError(told) from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return moment.isoformat().replace("+00:00", "Z")


def _time(text: str, _field: Field) -> str:
    told = "Enter a time, such as 14:30."
    if not _TIME.fullmatch(text.strip()):
        raise MisfitError(told)
    try:
        return time.fromisoformat(text.strip()).isoformat().replace("+00:00", "Z")
    except ValueError:
        raise MisfitError(told) from None


# --- several things ----------------------------------------------------------------------------


def _lines(text: str, field: Field) -> list[Any]:
    assert field.item is not None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(value_of(field.item, line.strip()))
        except MisfitError as error:
            raise MisfitError(f"Line {number:,}: {error}") from None
    check_count(field, found)
    return found


def check_count(field: Field, values: list[Any]) -> None:
    """Checks the number of things in an array. Raises `MisfitError`."""
    least, most = field.count("minItems"), field.count("maxItems")
    if least is not None and len(values) < least:
        raise MisfitError(f"Give at least {least:,}; these are {len(values):,}.")
    if most is not None and len(values) > most:
        raise MisfitError(f"Give at most {most:,}; these are {len(values):,}.")
    if field.schema.get("uniqueItems") is True and len(set(map(repr, values))) < len(values):
        raise MisfitError("Give each of them once.")


def _json(text: str, field: Field) -> Any:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        told = str(error).removeprefix("JSON is malformed: ")
        told = told.replace("Input data was truncated", "it ends too early")
        raise MisfitError(f"This is no JSON: {told}.") from None
    if _depth(value) > DEEPEST_JSON:
        raise MisfitError(f"This is nested too deep: {DEEPEST_JSON} levels are the most.")
    types = field.schema.get("type")
    names = [
        each for each in _TYPES if each == types or (isinstance(types, list) and each in types)
    ]
    if names and not any(_is_a(value, each) for each in names):
        wanted = " or ".join(_A_TYPE.get(each, f"a {each}") for each in names)
        raise MisfitError(f"This has to be {wanted}.")
    _check_keys(value, field)
    return value


def _is_a(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (type(value) is not bool or name == "boolean")


def _check_keys(value: Any, field: Field) -> None:
    """Whether an object has what its schema requires."""
    required = field.schema.get("required")
    if isinstance(value, dict) and isinstance(required, list):
        missing = [each for each in required if isinstance(each, str) and each not in value]
        if missing:
            raise MisfitError(f"The key {missing[0][:100]!r} is missing.")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inside = [each for each in level if isinstance(each, (dict, list))]
        level = [
            part for each in inside for part in (each.values() if isinstance(each, dict) else each)
        ]
    return depth


_READERS: Final[Mapping[Kind, Callable[[str, Field], Any]]] = {
    Kind.TEXT: _text,
    Kind.MULTILINE: _text,
    Kind.EMAIL: _email,
    Kind.PASSWORD: _text,
    Kind.URL: _url,
    Kind.NUMBER: _number,
    Kind.INTEGER: _integer,
    Kind.DATE: _date,
    Kind.DATETIME: _datetime,
    Kind.TIME: _time,
    Kind.LINES: _lines,
    Kind.JSON: _json,
}
