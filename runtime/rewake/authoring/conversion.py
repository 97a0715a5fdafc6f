"""The input of runs: plain JSON data, converted to the types that a workflow declares.

**Checked when an app is loaded.** Of a type hint a converter is made, once, and a type that no JSON
can become is refused then. So whatever a body gets is what its hint says: nothing is passed
through because nobody knew what to do with it.

- Leaves (numbers, text, dates, enums, literals) and msgspec's own classes are converted by msgspec.
  It passes over fields that its classes do not have, so these are looked for afterwards.
- A dataclass, an attrs class or a `TypedDict` is made of an object, a named tuple of an array. A
  field that the class does not have is refused.
- What pydantic knows, it converts by its own rules.
- Of a union, a text, number or null that is itself of a member stays what it is. Otherwise the
  value becomes the one member that it fits; one that fits several is refused, never guessed.

`strict` is how a new run is checked. A run that goes on under newer code is not: its input may have
a field that the code no longer has, and was checked when it began.
"""

from __future__ import annotations

import collections.abc
import enum
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, TypeVar

import msgspec

from rewake.authoring.fields import Field, fields_of, substituted
from rewake.authoring.misfits import NAMES_IN_PYDANTIC, lacking, misfit, msgspec_misfit
from rewake.errors import AppError, InvalidInput
from rewake.values.plain import plain_types

Converter = Callable[[Any, str, bool], Any]
"""Converts a value, which stands at a path in the input, perhaps strictly."""

_SCALARS: Final = (types.NoneType, bool, int, float, str)
_ANYTHING: Final = (Any, object)
_LISTS: Final[Mapping[Any, Callable[[Any], Any]]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
    collections.abc.MutableSequence: list,
    collections.abc.MutableSet: set,
    collections.abc.Sequence: list,
    collections.abc.Set: set,
}
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def as_it_is(value: Any, _path: str, _strict: bool) -> Any:
    """The `Converter` of what may be anything."""
    return value


@dataclass(frozen=True, slots=True)
class _ByMsgspec:
    """Converts what msgspec knows, down to its leaves. `has_fields`: objects with fields, too."""

    hint: Any
    custom: Callable[[Any], Converter]
    has_fields: bool

    def __call__(self, value: Any, path: str, strict: bool) -> Any:
        def made(kind: Any, part: Any) -> Any:
            try:
                return self.custom(kind)(part, "", strict)
            except InvalidInput as error:
                raise ValueError(str(error).removeprefix(": ")) from None

        try:
            found = msgspec.convert(value, self.hint, str_keys=True, dec_hook=made)
        except msgspec.ValidationError as error:
            message, _, inside = str(error).partition(" - at `$")
            there = f"{path}{inside.rstrip('`')}"
            # What has a cause was said by a class of the app, or one that it uses.
            told_here = error.__cause__ is None
            raise (msgspec_misfit if told_here else misfit)(there, message) from None
        if strict and self.has_fields:
            _check_known(value, found, path)
        return found


class Converters:
    """The converters of one function's hints. `of` raises `AppError` for a hint without one."""

    def __init__(self) -> None:
        self._known: dict[Any, Converter] = {}

    def of(self, hint: Any) -> Converter:
        """The converter of a type hint."""
        try:
            if hint in self._known:
                return self._known[hint]
        except TypeError:  # it has no hash, for it holds a value that has none
            return self._made(hint)

        def later(value: Any, path: str, strict: bool) -> Any:
            return self._known[hint](value, path, strict)

        self._known[hint] = later  # a class may contain itself
        self._known[hint] = made = self._made(hint)
        return made

    def _made(self, hint: Any) -> Converter:
        if any(hint is each for each in _ANYTHING):
            return lambda value, _path, _strict: value
        if _is_pydantics(hint):
            return _by_pydantic(hint)
        origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin is typing.Annotated:
            return self._annotated(hint)
        inside = _inside(hint, origin, arguments)
        if inside is not hint:
            return self.of(inside)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments)
        if isinstance(origin, type):
            made = self._of_class(hint, origin, arguments)
            if made is not None:
                return made
        return self._by_msgspec(hint)

    def _of_class(self, hint: Any, origin: type, arguments: tuple[Any, ...]) -> Converter | None:
        if origin in (*_LISTS, tuple, *_MAPPINGS):
            return self._container(hint, origin, arguments)
        if issubclass(origin, PurePath):
            return self._path(origin)
        if issubclass(origin, enum.Enum):
            return self._enum(origin)
        try:
            fields = fields_of(origin, arguments)
        except Exception as error:
            raise AppError(f"the fields of {_named(hint)} cannot be resolved: {error}") from error
        if fields is None:
            return None
        if issubclass(origin, tuple):
            return self._named_tuple(origin, fields)
        return self._object(origin, fields)

    def _container(self, hint: Any, origin: Any, arguments: tuple[Any, ...]) -> Converter:
        inner = [each if each is ... else self.of(each) for each in arguments]
        if all(each is ... or isinstance(each, _ByMsgspec) for each in inner):
            known = tuple(getattr(each, "hint", each) for each in inner)
            shape = list if origin is collections.abc.Iterable else origin
            return self._by_msgspec(shape[known] if known else hint)
        if origin is tuple:
            return self._tuple(arguments)
        return self._mapping(arguments) if origin in _MAPPINGS else self._list(hint)

    # --- of one kind each --------------------------------------------------------------------

    def _by_msgspec(self, hint: Any) -> _ByMsgspec:
        try:
            msgspec.json.Decoder(hint)
            inside = list(_types_in(msgspec.inspect.type_info(hint)))
            for each in inside:
                if not isinstance(each, msgspec.inspect.CustomType):
                    continue
                if each.cls is hint:
                    raise AppError(f"no JSON can become {_named(hint)}")
                self.of(each.cls)
        except AppError:
            raise
        except Exception as error:
            raise AppError(f"no JSON can become {_named(hint)} ({error})") from error
        return _ByMsgspec(hint, self.of, any(isinstance(each, _WITH_FIELDS) for each in inside))

    def _annotated(self, hint: Any) -> Converter:
        inner = self.of(hint.__origin__)
        limits = [each for each in hint.__metadata__ if isinstance(each, msgspec.Meta)]
        if not limits:
            return inner
        if isinstance(inner, _ByMsgspec):
            return self._by_msgspec(hint)
        outside = typing.get_origin(hint.__origin__)
        shape = dict if outside in _MAPPINGS else list if outside in _LISTS else None
        if shape is None:
            raise AppError(f"{_named(hint)} has limits that cannot be checked")
        limited: Any = shape
        for each in limits:
            limited = typing.Annotated[limited, each]
        check = self._by_msgspec(limited)

        def convert(value: Any, path: str, strict: bool) -> Any:
            check(value, path, strict)
            return inner(value, path, strict)

        return convert

    def _union(self, members: tuple[Any, ...]) -> Converter:
        converters = [self.of(each) for each in members]
        if all(isinstance(each, _ByMsgspec) for each in converters):
            try:
                return self._by_msgspec(_either(members))
            except AppError:
                pass  # it cannot tell them apart by their JSON
        if all(_is_pydantics(each) for each in members if each is not types.NoneType):
            return _by_pydantic(_either(members))
        scalars = [each for each in _SCALARS if each in members]
        classes = [typing.get_origin(each) or each for each in members]
        names = ", ".join(_named(each) for each in members)

        def convert(value: Any, path: str, strict: bool) -> Any:
            kind = type(value)
            if kind in scalars or (kind in classes and kind.__module__ != "builtins"):
                return value  # the latter is an object of a member already
            made, refused = _tried(converters, value, path, strict)
            if not made and len(refused) == 1:
                raise refused[0]
            if not made:
                told = "; ".join(str(each) for each in refused)
                of_names = all(each.names_only for each in refused)
                raise misfit(path, f"it fits none of {names} ({told})", names_only=of_names)
            if any(not _is_same(made[0], other) for other in made[1:]):
                raise misfit(path, f"it fits more than one of {names}: say which by its fields")
            return made[0]

        return convert

    def _list(self, hint: Any) -> Converter:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        item, make, array = self.of(arguments[0]), _LISTS[origin], self._by_msgspec(list)

        def convert(value: Any, path: str, strict: bool) -> Any:
            parts = array(value, path, strict)
            return make(item(each, f"{path}[{i}]", strict) for i, each in enumerate(parts))

        return convert

    def _tuple(self, arguments: tuple[Any, ...]) -> Converter:
        array = self._by_msgspec(list)
        if len(arguments) == 2 and arguments[1] is ...:
            item = self.of(arguments[0])
            return lambda value, path, strict: tuple(
                item(each, f"{path}[{i}]", strict)
                for i, each in enumerate(array(value, path, strict))
            )
        fields = [Field(str(i), each, True) for i, each in enumerate(arguments)]
        return self._positional(fields, tuple)

    def _named_tuple(self, kind: Any, fields: list[Field]) -> Converter:
        convert = self._positional(fields, lambda parts: kind(*parts))
        return lambda value, path, strict: (
            value if isinstance(value, kind) else convert(value, path, strict)
        )

    def _positional(self, fields: list[Field], make: Callable[[list[Any]], Any]) -> Converter:
        items = [self.of(each.hint) for each in fields]
        least, array = sum(each.required for each in fields), self._by_msgspec(list)

        def convert(value: Any, path: str, strict: bool) -> Any:
            parts = array(value, path, strict)
            if not least <= len(parts) <= len(items):
                wanted = f"{least} to {len(items)}" if least < len(items) else f"{least}"
                raise misfit(path, f"Expected `array` of length {wanted}, got {len(parts)}")
            return make(
                [
                    item(each, f"{path}[{i}]", strict)
                    for i, (item, each) in enumerate(zip(items, parts, strict=False))
                ]
            )

        return convert

    def _mapping(self, arguments: tuple[Any, ...]) -> Converter:
        key, item, mapping = self._key(arguments[0]), self.of(arguments[1]), self._by_msgspec(dict)

        def convert(value: Any, path: str, strict: bool) -> Any:
            return {
                key(name, f"{path}[{name!r}]", strict): item(each, f"{path}[{name!r}]", strict)
                for name, each in mapping(value, path, strict).items()
            }

        return convert

    def _key(self, hint: Any) -> Converter:
        """A key of an object is a text in JSON, also where it stands for a number."""
        made = self.of(hint)
        if not isinstance(made, _ByMsgspec):
            return made
        alone = self._by_msgspec(dict[made.hint, Any])  # type: ignore[name-defined]
        return lambda name, path, strict: next(iter(alone({name: None}, path, strict)))

    def _path(self, kind: type[PurePath]) -> Converter:
        text = self._by_msgspec(str)
        return lambda value, path, strict: (
            value if isinstance(value, kind) else kind(text(value, path, strict))
        )

    def _enum(self, kind: type[enum.Enum]) -> Converter:
        values = [each.value for each in kind]
        try:
            return self._by_msgspec(kind)
        except AppError:
            if not values or any(type(each) not in _SCALARS for each in values):
                raise

        def convert(value: Any, path: str, _strict: bool) -> Any:
            for member in kind:
                if value is member or _is_same(value, member.value):
                    return member
            raise misfit(path, f"Invalid enum value {value!r}")

        return convert

    def _object(self, kind: Any, fields: list[Field]) -> Converter:
        converters = {each.name: self.of(each.hint) for each in fields}
        required = [each.name for each in fields if each.required]
        mapping, is_dict = self._by_msgspec(dict), typing.is_typeddict(kind)

        def convert(value: Any, path: str, strict: bool) -> Any:
            if not is_dict and isinstance(value, kind):
                return value
            given = mapping(value, path, strict)
            for name in required:
                if name not in given:
                    raise lacking(path, name)
            for name in given if strict else ():
                if name not in converters:
                    told = f"{_named(kind)} has no such field"
                    raise misfit(f"{path}.{name}", told, names_only=True)
            made = {
                name: convert_field(given[name], f"{path}.{name}", strict)
                for name, convert_field in converters.items()
                if name in given
            }
            try:
                return kind(**made)
            except (TypeError, ValueError) as error:
                raise misfit(path, str(error)) from error

        return convert


def _tried(
    converters: list[Converter], value: Any, path: str, strict: bool
) -> tuple[list[Any], list[InvalidInput]]:
    """What the value becomes by these converters, and why it does not."""
    made, refused = [], []
    for convert in converters:
        try:
            made.append(convert(value, path, True))
        except InvalidInput as error:
            refused.append(error)
    if made or strict:
        return made, refused
    for convert in converters:  # of a run that goes on: a field of then may be gone
        try:
            made.append(convert(value, path, False))
        except InvalidInput:
            continue
    return made[:1], refused


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _inside(hint: Any, origin: Any, arguments: tuple[Any, ...]) -> Any:
    """What a hint stands for that is another name of a type; else the hint."""
    if isinstance(hint, TypeVar):
        if hint.__constraints__:
            return _either(hint.__constraints__)
        return Any if hint.__bound__ is None else hint.__bound__
    if hasattr(hint, "__supertype__"):  # a NewType
        return hint.__supertype__
    if type(origin).__name__ == "TypeAliasType":
        variables = dict(zip(origin.__type_params__, arguments, strict=False))
        return substituted(origin.__value__, variables)
    return arguments[0] if origin is typing.Final and arguments else hint


_WITH_FIELDS = (
    msgspec.inspect.StructType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.TypedDictType,
)


def _check_known(given: Any, made: Any, path: str) -> None:
    """Raise for a field that msgspec passed over: it ignores what a struct does not have."""
    if isinstance(given, list) and isinstance(made, list | tuple):
        for i, pair in enumerate(zip(given, made, strict=False)):
            _check_known(*pair, f"{path}[{i}]")
    elif isinstance(given, dict) and type(made) is dict and len(given) == len(made):
        for name, each in zip(given, made.values(), strict=True):
            _check_known(given[name], each, f"{path}[{name!r}]")
    elif isinstance(given, dict) and (fields := _fields_made(made)) is not None:
        for name, each in given.items():
            if name not in fields:
                told = f"{_named(type(made))} has no such field"
                raise misfit(f"{path}.{name}", told, names_only=True)
            _check_known(each, fields[name], f"{path}.{name}")


def _fields_made(made: Any) -> dict[str, Any] | None:
    """The fields that msgspec has made, by their names in JSON."""
    kind: Any = type(made)
    if isinstance(made, dict):  # of a `TypedDict`
        return made
    if isinstance(made, msgspec.Struct):
        tag = kind.__struct_config__.tag_field
        names = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
        return {tag: None, **{name: getattr(made, field) for name, field in names}}
    attributes: Any = getattr(kind, "__attrs_attrs__", ())
    declared = [*getattr(kind, "__dataclass_fields__", ()), *(each.name for each in attributes)]
    if not declared or _is_pydantics(kind):
        return None
    return {name: getattr(made, name, None) for name in declared}


def _types_in(info: Any) -> Iterator[Any]:
    """All that a type is made of, as msgspec describes it."""
    seen: dict[int, Any] = {}
    left = [info]
    while left:
        each = left.pop()
        if isinstance(each, list | tuple):
            left.extend(each)
        elif isinstance(each, msgspec.Struct) and id(each) not in seen:
            seen[id(each)] = each
            yield each
            left.extend(getattr(each, name) for name in each.__struct_fields__)


def _either(members: tuple[Any, ...]) -> Any:
    return typing.Union[members]  # noqa: UP007 - they are known at run time only


def _named(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")


# --- pydantic ------------------------------------------------------------------------------------

_PYDANTICS: Final = ("__get_pydantic_core_schema__", "__pydantic_validator__")


def _is_pydantics(hint: Any) -> bool:
    """Whether pydantic is here, and it is a type of its kind or has limits that it knows."""
    if "pydantic" not in sys.modules:
        return False
    if typing.get_origin(hint) is typing.Annotated:
        return _is_pydantics(hint.__origin__) or any(
            type(each).__module__.partition(".")[0] in ("pydantic", "annotated_types")
            or hasattr(each, _PYDANTICS[0])
            for each in hint.__metadata__
        )
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and any(hasattr(origin, each) for each in _PYDANTICS)


def _by_pydantic(hint: Any) -> Converter:
    """Convert as pydantic does with JSON."""
    pydantic, config = sys.modules["pydantic"], {"val_json_bytes": "base64"}
    try:
        adapter = pydantic.TypeAdapter(hint, config=config if _has_bytes(hint) else None)
    except Exception as error:
        raise AppError(f"pydantic cannot make {_named(hint)} of JSON: {error}") from error

    def convert(value: Any, path: str, _strict: bool) -> Any:
        try:
            body = None if plain_types(value) is None else msgspec.json.encode(value)
        except UnicodeEncodeError:
            body = None
        if body is None:  # an object already, given by a body or an embedder
            return _checked(lambda: adapter.validate_python(value), path)
        return _checked(lambda: adapter.validate_json(body), path)

    return convert


def _has_bytes(hint: Any) -> bool:
    """Whether it is of bytes with limits, which are base64 as all bytes are."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(map(_has_bytes, typing.get_args(hint)))
    if typing.get_origin(hint) is not typing.Annotated or hint.__origin__ is not bytes:
        return False
    return not any(hasattr(each, _PYDANTICS[0]) for each in hint.__metadata__)


def _checked(validate: Callable[[], Any], path: str) -> Any:
    try:
        return validate()
    except ValueError as error:
        problems: list[Any] = getattr(error, "errors", list)()
        if not problems:
            raise misfit(path, str(error)) from None
        first = problems[0]
        parts = [f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]]
        of_names = first["type"] in NAMES_IN_PYDANTIC
        place = f"{path}{''.join(parts)}"
        raise misfit(place, first["msg"], names_only=of_names) from None
