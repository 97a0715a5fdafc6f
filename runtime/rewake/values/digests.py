"""Digests: short names of arguments, which tell whether an operation has the same on replay.

A digest is made of a canonical text and never of a pickle, for pickles differ between processes.
In that text plain data reads as JSON with sorted keys. Everything else is led by the name of its
type: containers, dataclasses, structs, enums, moments and paths with their content, functions
and classes with their own name, all the rest with nothing. So captured variables are not compared,
nor values that lie too deep.

Digests outlive releases, of Rewake and of the app: a run may sleep for months. So nothing is part
of the text that a library may come to write in another way. A field that has its default is left
out: adding one changes no digest. A name has the last part of its module only, for the same file
is `own` or `shop.own`, whichever way it was loaded.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import hmac
import json
import types
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import cached_property, lru_cache
from operator import itemgetter
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rewake.values.fields import all_field_names, field_defaults, field_names, tuple_fields
from rewake.values.plain import PLAIN, plain_types

__all__ = ["digest", "text_of", "type_name"]

_INERT: frozenset[type] = frozenset({bool, types.NoneType})

_DEPTH = 64
_ELEMENTS = 1_000_000
"""Most elements that are written; the rest are only named, so that a lattice of aliases ends."""

_QUOTER = msgspec.json.Encoder()
_SORTER = msgspec.json.Encoder(order="deterministic")
# Slower, but it writes floats as Python's `repr`; JSON leaves open how they are written.
_FLOAT_SORTER = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, check_circular=False, separators=(",", ":")
)


def digest(arguments: Mapping[str, Any], key: bytes = b"") -> str:
    """Return 16 hex characters that name `arguments` (by parameter), the same in every process.

    With a `key` they tell nothing of the arguments to who does not have it.

    Never raises, whatever the values are.
    """
    named = dict(arguments)
    canonical = _quick_text(named)
    if canonical is None:
        canonical = _Writer().text(named).encode(errors="backslashreplace")
    if key:
        return hmac.digest(key, canonical, "sha256").hex()[:16]
    return hashlib.sha256(canonical).hexdigest()[:16]


class Indistinct(Exception):
    """A value of this `kind`, in the argument `where`, of which no text can be made."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.where = ""


def exact_digest(arguments: Mapping[str, Any]) -> str:
    """Return 64 hex characters that name `arguments`, and no others.

    Raises `Indistinct` for values of which no text tells all.
    """
    texts = []
    for name in sorted(arguments):
        try:
            texts.append(f"{_quoted(name)}:{_ExactWriter().text(arguments[name])}")
        except Indistinct as error:
            error.where = name
            raise
    return hashlib.sha256(",".join(texts).encode(errors="backslashreplace")).hexdigest()


def _quick_text(named: dict[str, Any]) -> bytes | None:
    """Return the canonical text of plain data the fast way; None if `named` is not plain."""
    met = plain_types(named) if any(map(_is_deep, named.values())) else frozenset[type]()
    if met is None:
        return None
    try:
        return _FLOAT_SORTER.encode(named).encode() if float in met else _SORTER.encode(named)
    except UnicodeEncodeError:
        return None


def _is_deep(value: Any) -> bool:
    """Tell whether `value` is more than a text, a truth value, None, or an int of 64 bits."""
    kind = type(value)
    return kind is not str and not (kind is int and value.bit_length() < 64) and kind not in _INERT


def text_of(value: Any) -> str:
    """The canonical text of a value, of which digests are made."""
    return _Writer().text(value)


class _Writer:
    """Writes one canonical text, and of a value too deep, too many or in a cycle only its type."""

    __slots__ = ("_forms", "_left", "_within")

    def __init__(self) -> None:
        self._forms = _FORMS
        self._within: set[int] = set()
        self._left = _ELEMENTS

    def text(self, value: Any) -> str:
        """Return the canonical text of `value`; never raises."""
        identity = id(value)
        self._left -= 1
        if identity in self._within or len(self._within) > _DEPTH or self._left < 0:
            return self._untold(value)
        self._within.add(identity)
        try:
            return self._content(value)
        except Indistinct:
            raise
        except Exception:
            return self._untold(value)
        finally:
            self._within.discard(identity)

    def _content(self, value: Any) -> str:
        kind = type(value)
        names = tuple_fields(kind)
        for base in kind.__mro__ if names is None else ():
            form = self._forms.get(base)
            if form is not None:
                content = form(self, value)
                return content if kind in PLAIN else f"{self.name(kind)}({content})"
        names = names or field_names(kind)
        if names is None:
            return self._untold(value)
        return f"{self.name(kind)}({','.join(self._fields(value, names))})"

    def name(self, kind: Any) -> str:
        """What stands before the content of a value of this class."""
        return _named(kind)

    def _untold(self, value: Any) -> str:
        return _bare(value)

    def _left_out(self, kind: type) -> Mapping[str, str]:
        """The texts of fields that are left out."""
        return _default_texts(kind)

    def _fields(self, value: Any, names: Iterable[str]) -> Iterator[str]:
        defaults = self._left_out(type(value))
        for name in sorted(names):
            # An object of the class as it was before may lack the field.
            with suppress(AttributeError):
                text = self.text(getattr(value, name))
                if text != defaults.get(name):
                    yield f"{name}={text}"

    def sequence(self, value: Iterable[Any]) -> str:
        return f"[{','.join(map(self.text, value))}]"

    def members(self, value: Iterable[Any]) -> str:
        return f"[{','.join(sorted(map(self.text, value)))}]"

    def mapping(self, value: dict[Any, Any]) -> str:
        pairs = list(dict.items(value))
        if {type(key) for key, _ in pairs} <= {str}:
            pairs.sort(key=itemgetter(0))
            written = [f"{_quoted(key)}:{self.text(item)}" for key, item in pairs]
        else:
            written = sorted(f"{self.text(key)}:{self.text(item)}" for key, item in pairs)
        return f"{{{','.join(written)}}}"

    def moment(self, value: dt.datetime | dt.time) -> str:
        return f"{value.isoformat()},{value.fold},{self.text(value.tzinfo)}"


class _ExactWriter(_Writer):
    """The same, but for values that have no text of their own, or are told by a name alone.

    It is for what is kept for hours, and not for what sleeps for months: so a class is of its whole
    module, and a field is written also where it has its default, which a deploy may change.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self._forms = _EXACT_FORMS

    def _content(self, value: Any) -> str:
        kind = type(value)
        if issubclass(kind, types.FunctionType | types.MethodType):
            return self._untold(value)
        more = _beside(value, kind)
        if more is None:
            return self._untold(value)
        return super()._content(value) + (self.mapping(more) if more else "")

    def name(self, kind: Any) -> str:
        return f"{kind.__module__}.{kind.__qualname__}"

    def _left_out(self, _: type) -> Mapping[str, str]:
        return {}

    def _untold(self, value: Any) -> str:
        raise Indistinct(type_name(type(value)))

    def ordered(self, value: OrderedDict[Any, Any]) -> str:
        """Its order is part of it."""
        return self.sequence(list(OrderedDict.items(value)))

    def filling(self, value: defaultdict[Any, Any]) -> str:
        """What it makes of a key that is not there is part of it."""
        return f"{self.text(value.default_factory)},{self.mapping(value)}"

    def member(self, value: enum.Enum) -> str:
        """What it stands for may change, and may be an object that has no text."""
        with suppress(Indistinct):
            return f"{value.name},{self.text(value.value)}"
        return value.name

    def class_(self, value: type) -> str:
        """One in a function is another one with each call."""
        return self._untold(value) if "<locals>" in value.__qualname__ else self.name(value)

    def zone(self, value: ZoneInfo) -> str:
        """One that was read of a file has no name."""
        return self._untold(value) if not value.key else str(value.key)


def _beside(value: Any, kind: type) -> dict[str, Any] | None:
    """What a value has beside its text or fields that can be told; None: more than that."""
    if issubclass(kind, enum.Enum | type) or kind in _TOLD_BY_TEXT:
        return {}
    state = object.__getstate__(value)
    parts = state if isinstance(state, tuple) else (state,)
    has = {name: item for part in parts if isinstance(part, dict) for name, item in part.items()}
    named = tuple_fields(kind) or all_field_names(kind) or ()
    told = {name: has.pop(name, None) for name in _OF_PYDANTIC}
    made = [name for name in has if isinstance(getattr(kind, name, None), cached_property)]
    if has.keys() - {*named, *made, "__pydantic_fields_set__"}:
        return None
    return {name: item for name, item in told.items() if item}


_TOLD_BY_TEXT = frozenset(
    {uuid.UUID, PurePath, PurePosixPath, PureWindowsPath, Path, PosixPath, WindowsPath}
)
"""Types whose objects keep in slots what their text tells, and what they have made of it."""

_OF_PYDANTIC = ("__pydantic_extra__", "__pydantic_private__")
"""What a model has beside its fields."""


def _quoted(text: str) -> str:
    try:
        return _QUOTER.encode(str(text)).decode()
    except UnicodeEncodeError:
        return ascii(str(text))


def _integer(value: int) -> str:
    # Decimal digits of huge integers are refused, and slow.
    return int.__repr__(value) if value.bit_length() <= 64 else hex(value)


def _named(value: Any) -> str:
    # Python 3.13 moved the path classes within `pathlib`.
    module = value.__module__.removesuffix("._local").rpartition(".")[2]
    return f"{module}.{value.__qualname__}"


@lru_cache(maxsize=512)
def _default_texts(kind: type) -> Mapping[str, str]:
    """The canonical texts of a class's defaults."""
    return {name: text_of(default) for name, default in field_defaults(kind).items()}


_FORMS: Mapping[type, Callable[[_Writer, Any], str]] = {
    types.NoneType: lambda *_: "null",
    bool: lambda _, value: "true" if value else "false",
    int: lambda _, value: _integer(value),
    float: lambda _, value: float.__repr__(value),
    complex: lambda _, value: complex.__repr__(value),
    str: lambda _, value: _quoted(value),
    bytes: lambda _, value: bytes.hex(value),
    bytearray: lambda _, value: bytearray.hex(value),
    list: lambda writer, value: writer.sequence(list.__iter__(value)),
    tuple: lambda writer, value: writer.sequence(tuple.__iter__(value)),
    set: lambda writer, value: writer.members(set.__iter__(value)),
    frozenset: lambda writer, value: writer.members(frozenset.__iter__(value)),
    dict: lambda writer, value: writer.mapping(value),
    enum.Flag: lambda writer, value: writer.text(value.value),
    enum.Enum: lambda _, value: value.name,
    dt.datetime: lambda writer, value: writer.moment(value),
    dt.time: lambda writer, value: writer.moment(value),
    dt.date: lambda _, value: value.isoformat(),
    dt.timedelta: lambda _, value: f"{value.days},{value.seconds},{value.microseconds}",
    dt.timezone: lambda _, value: str(value),
    ZoneInfo: lambda _, value: str(value.key),
    uuid.UUID: lambda _, value: value.hex,
    Decimal: lambda _, value: str(value),
    PurePath: lambda _, value: _quoted(str(value)),
    type: lambda _, value: _named(value),
    types.FunctionType: lambda _, value: _named(value),
    types.BuiltinFunctionType: lambda _, value: _named(value),
    types.MethodType: lambda _, value: _named(value),
}

_EXACT_FORMS: Mapping[type, Callable[[Any, Any], str]] = {
    **_FORMS,
    str: lambda _, value: _quoted(str.__str__(value)),
    OrderedDict: _ExactWriter.ordered,
    defaultdict: _ExactWriter.filling,
    enum.Enum: _ExactWriter.member,
    dt.timezone: lambda _, value: f"{value},{value.utcoffset(None)}",
    ZoneInfo: _ExactWriter.zone,
    type: _ExactWriter.class_,
}


def _bare(value: Any) -> str:
    try:
        return f"<{_named(type(value))}>"
    except Exception:
        return "<object>"


def type_name(kind: type) -> str:
    """Return the qualified name of a class, for people."""
    return f"{kind.__module__}.{kind.__qualname__}"
