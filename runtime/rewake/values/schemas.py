"""JSON Schemas of forms: which may be asked with, and whether an answer fits one.

A form comes from the app's own code, an answer from anybody who holds a link. So a form is checked
once, when it is asked with, for what would make any answer's check fail: it must be a schema, and
refer only to itself. (Nothing is ever fetched.) An answer is bounded before it is looked at.

A form may also be a *property map*, the properties of an object alone: `{"amount": {"type":
"number"}}`. What has a `type`, `properties` or a keyword with a `$` is a schema.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from rewake.errors import UsageError

ROOT: Final = "value"
"""The path of the whole answer; the field of a JSON answer that holds it has the same name."""
MOST_BYTES: Final = 65_536
"""The largest schema, as JSON."""
DEEPEST: Final = 32
"""How deep a schema, and what is filled in, may be nested."""
MOST_VALUES: Final = 2_000
"""The most values of an answer, each element and each field counted."""
MOST_TOLD: Final = 20
"""The most misfits that are told of one answer."""
TOO_LARGE: Final = f"at most {MOST_VALUES:,} values in {DEEPEST} levels can be filled in"
_LONGEST_TOLD: Final = 200
_FORM: Final = "urn:rewake:form"
_TYPES: Final = {
    "date": dt.date,
    "date-time": dt.datetime,
    "decimal": Decimal,
    "duration": dt.timedelta,
    "time": dt.time,
    "uuid": uuid.UUID,
}
"""By format: what a text of it becomes, if the form was made of a type."""


class Misfit(NamedTuple):
    """A part of an answer that does not fit, by its path."""

    path: str
    message: str


def schema_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that a form stands for, itself or of its properties."""
    is_map = (
        bool(form)
        and not any(each.startswith("$") for each in form)
        and all(isinstance(each, Mapping) for each in form.values())
        and "properties" not in form
    )
    return {"type": "object", "properties": dict(form)} if is_map else dict(form)


def checked_schema(form: Mapping[str, Any]) -> dict[str, Any]:
    """The form as plain JSON. Raises `UsageError` if no answer could be checked against it."""
    try:
        body = msgspec.json.encode(form)
        plain: dict[str, Any] = msgspec.json.decode(body)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the form is not JSON: {error}") from None
    if len(body) > MOST_BYTES or _depth(plain) > DEEPEST:
        told = f"{MOST_BYTES:,} bytes of JSON and {DEEPEST} levels"
        raise UsageError(f"the form is too large: it may have at most {told}")
    schema = schema_of(plain)
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise UsageError(f"the form refers to {reference!r}: it may refer only to itself (#/…)")
    try:
        _validator(schema).check_schema(schema)
    except Exception as error:
        told = getattr(error, "message", "") or str(error)
        raise UsageError(f"the form is no JSON Schema: {told[:_LONGEST_TOLD]}") from None
    _check_references(schema)
    return plain


def misfits(schema: Mapping[str, Any], value: Any) -> list[Misfit]:
    """What of an answer (JSON data) does not fit; empty if it does."""
    if is_too_large(value):
        return [Misfit(ROOT, TOO_LARGE)]
    try:
        return _found(_validator(schema), value)
    except Exception as error:  # a number that no float holds, a text that no pattern ends on
        return [Misfit(ROOT, f"it cannot be checked ({type(error).__name__})")]


def _found(validator: Any, value: Any) -> list[Misfit]:
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - it takes long to import

    found: dict[str, Misfit] = {}
    for error in validator.iter_errors(value):
        inner = best_match([error])  # of `anyOf`, the member that was meant
        for path, message in _told(inner or error):
            found.setdefault(path, Misfit(path, message[:_LONGEST_TOLD]))
        if len(found) >= MOST_TOLD:
            break
    return list(found.values())


def _told(error: Any) -> Iterator[tuple[str, str]]:
    if error.validator != "required" or not isinstance(error.instance, Mapping):
        yield path_of(error.absolute_path), _message(error)
        return
    for name in error.validator_value:
        if name not in error.instance:
            yield path_of([*error.absolute_path, name]), "it is required"


def _message(error: Any) -> str:
    """What is wrong, without repeating what was filled in: it may be long, and a secret."""
    wanted = error.validator_value
    match error.validator:
        case "type":
            kinds = wanted if isinstance(wanted, list) else [wanted]
            return f"it must be {' or '.join(map(_named, kinds))}"
        case "enum":
            return f"it must be one of {_json(wanted)}"
        case "const":
            return f"it must be {_json(wanted)}"
        case "format":
            return f"it is no {wanted}"
        case "additionalProperties":
            return "there is a field that is not asked for"
        case keyword:
            return f"it does not fit: {keyword} {_json(wanted)}"


def _named(kind: object) -> str:
    return "null" if kind == "null" else f"{'an' if str(kind)[:1] in 'aeiou' else 'a'} {kind}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def path_of(parts: Iterable[str | int], start: str = ROOT) -> str:
    """The path of a part of the answer: `value`, `value.lines[2].price`, `value["a.b"]`.

    No two parts have the same: a key that is no identifier is quoted.
    """
    path = start
    for part in parts:
        is_plain = isinstance(part, str) and part.isidentifier()
        path += f".{part}" if is_plain else f"[{json.dumps(part, ensure_ascii=False)}]"
    # A key that UTF-8 cannot hold is escaped, as JSON would.
    return path.encode(errors="backslashreplace").decode()


# --- what is looked at ---------------------------------------------------------------------------


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list | tuple):
        return 0
    return 1 + max((_depth(each) for each in inner), default=0)


def is_too_large(value: Any) -> bool:
    """Whether it is larger than an answer may be; looks no further than that."""
    left, level = MOST_VALUES, [value]
    for _ in range(DEEPEST + 1):
        left -= len(level)
        if left < 0:
            return True
        deeper: list[Any] = []
        for each in level:
            if isinstance(each, Mapping):
                deeper.extend(each.values())
            elif isinstance(each, list | tuple):
                deeper.extend(each)
        if not deeper:
            return False
        level = deeper
    return True


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for name, each in schema.items():
            if name in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(each, str):
                yield each
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def _check_references(schema: Mapping[str, Any]) -> None:
    """Raise for a reference that leads nowhere, or round in a circle without an end."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.jsonschema import DRAFT202012  # noqa: PLC0415

    resource = DRAFT202012.create_resource(schema)
    registry = Registry().with_resource(_FORM, resource).crawl()
    for reference in {"#", *_references(schema)}:
        part = Draft202012Validator({"$ref": f"{_FORM}{reference}"}, registry=registry)
        try:
            part.is_valid(0)
        except RecursionError:
            raise UsageError(f"the form refers to itself without an end ({reference})") from None
        except Exception:
            raise UsageError(f"the form refers to {reference!r}, which it does not have") from None


def _validator(schema: Mapping[str, Any]) -> Any:
    # They take long to import, and most programs have no form.
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    kind = validators.validator_for(schema, default=Draft202012Validator)
    # With a registry of its own it asks no network for what it does not know.
    return kind(schema, registry=Registry(), format_checker=_formats())


@functools.cache
def _formats() -> Any:
    from jsonschema import FormatChecker  # noqa: PLC0415

    checker = FormatChecker(("email", "ipv4", "ipv6", "regex"))
    for name, kind in _TYPES.items():
        checker.checks(name, (msgspec.ValidationError,))(functools.partial(_becomes, kind))
    return checker


def _becomes(kind: type, value: object) -> bool:
    if isinstance(value, str):
        msgspec.convert(value, kind)
    return True
