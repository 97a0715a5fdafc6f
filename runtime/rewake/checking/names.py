"""Names in a function's source, resolved to objects without running any code.

A name is looked up as by Python: in the functions around it, in the closure, in the module and
in builtins; an attribute in the dictionaries of its owner and of the owner's classes. A name that
depends on a value at run time (a parameter, a variable that is set twice, the result of a call) is
`UNKNOWN`. Three things are known although there is no object yet: a function that the source
defines (`Nested`), an instance of a class (`Instance`), and a task that it makes (`ELSEWHERE`).
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import inspect
import linecache
import sys
import types
from collections import ChainMap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class _Mark:
    """A stand-in for an object that is unknown or does not exist yet."""


UNKNOWN: Final = _Mark()
ELSEWHERE: Final = _Mark()


@dataclass(frozen=True, slots=True)
class Instance:
    """The object that a call of a class makes."""

    kind: type


@dataclass(frozen=True, slots=True)
class Nested:
    """A function that another one defines, and the names around it."""

    node: FunctionNode
    scope: Names


@dataclass(frozen=True, slots=True)
class _Alias:
    """A local name for the value of an expression."""

    value: ast.expr


class Outside:
    """The names around a function of a module: its closure, the module and builtins."""

    def __init__(self, function: types.FunctionType) -> None:
        self.file = function.__code__.co_filename
        self.module = str(function.__globals__.get("__name__") or "")
        self.package = str(function.__globals__.get("__package__") or "")
        free = function.__code__.co_freevars
        self._cells = dict(zip(free, function.__closure__ or (), strict=True))
        self._names = ChainMap(function.__globals__, vars(builtins))

    def find(self, name: str) -> object:
        """The object that a name stands for."""
        if name not in self._cells:
            return self._names.get(name, UNKNOWN)
        try:
            return self._cells[name].cell_contents
        except ValueError:  # an empty cell
            return UNKNOWN


class Names:
    """The names of one function, and where it looks for others.

    `makes_task(object)`: whether calling the object makes a task.
    """

    def __init__(
        self,
        node: FunctionNode,
        outer: Names | Outside,
        makes_task: Callable[[object], bool],
    ) -> None:
        self.makes_task = makes_task
        self._outer = outer
        self._names = dict(_bound(node, self))

    def inner(self, node: FunctionNode) -> Names:
        """The names of a function that this one defines."""
        return Names(node, self, self.makes_task)

    @property
    def outside(self) -> Outside:
        """The names around the outermost function."""
        return self._outer.outside if isinstance(self._outer, Names) else self._outer

    def find(self, name: str) -> object:
        """The object that a name stands for."""
        if name not in self._names:
            return self._outer.find(name)
        found = self._names[name]
        if isinstance(found, _Alias):
            self._names[name] = UNKNOWN  # in case it is an alias of itself
            self._names[name] = found = self.resolve(found.value)
        elif isinstance(found, Nested) and self._is_task(found.node):
            self._names[name] = found = ELSEWHERE
        return found

    def resolve(self, node: ast.expr) -> object:
        """The object that an expression gives."""
        match node:
            case ast.Name():
                return self.find(node.id)
            case ast.Attribute():
                return member(self.resolve(node.value), node.attr)
            case ast.Call():
                called = self.resolve(node.func)
                if called is ELSEWHERE or self.makes_task(called):
                    return ELSEWHERE
                return Instance(called) if isinstance(called, type) else UNKNOWN
            case _:
                return UNKNOWN

    def _is_task(self, node: FunctionNode) -> bool:
        decorators = [self.resolve(each) for each in getattr(node, "decorator_list", ())]
        return any(each is ELSEWHERE or self.makes_task(each) for each in decorators)


def member(owner: object, name: str) -> object:
    """The attribute of an object, found without running any code."""
    if isinstance(owner, _Mark | Nested):
        return UNKNOWN
    if isinstance(owner, Instance):
        owner = owner.kind
    found = inspect.getattr_static(owner, name, UNKNOWN)
    return found.__func__ if isinstance(found, staticmethod | classmethod) else found


def without_partial(found: object) -> object:
    """The function under `functools.partial`."""
    while isinstance(found, functools.partial):
        found = found.func
    return found


@dataclass(frozen=True, slots=True)
class Parameters:
    """The names of a function's parameters."""

    positional: list[str]
    rest: str
    keyword: list[str]
    keywords: str

    @classmethod
    def of(cls, node: FunctionNode) -> Parameters:
        given = node.args
        return cls(
            [each.arg for each in (*given.posonlyargs, *given.args)],
            given.vararg.arg if given.vararg else "",
            [each.arg for each in given.kwonlyargs],
            given.kwarg.arg if given.kwarg else "",
        )

    @property
    def all(self) -> set[str]:
        return {*self.positional, self.rest, *self.keyword, self.keywords}

    def at(self, position: int | str | None) -> str:
        """The parameter that takes an argument of this position or keyword."""
        if isinstance(position, int):
            within = position < len(self.positional)
            return self.positional[position] if within else self.rest
        return position if position in {*self.positional, *self.keyword} else self.keywords


class Sources:
    """The source of functions, each file read and parsed once."""

    def __init__(self) -> None:
        self._files: dict[str, dict[tuple[int, str], FunctionNode]] = {}

    def node(self, function: types.FunctionType) -> FunctionNode | None:
        """The source of a function; None if it cannot be found for certain."""
        code = function.__code__
        if code.co_filename not in self._files:
            linecache.checkcache(code.co_filename)
            lines = linecache.getlines(code.co_filename, function.__globals__)
            self._files[code.co_filename] = _functions_in("".join(lines))
        return self._files[code.co_filename].get((code.co_firstlineno, code.co_name))


def _functions_in(text: str) -> dict[tuple[int, str], FunctionNode]:
    """The functions in a text, by first line and name, if no other has the same two."""
    found: dict[tuple[int, str], list[FunctionNode]] = {}
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # it is no Python file
        return {}
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            decorators = getattr(node, "decorator_list", ())
            first = min(each.lineno for each in (node, *decorators))
            found.setdefault((first, getattr(node, "name", "<lambda>")), []).append(node)
    return {key: nodes[0] for key, nodes in found.items() if len(nodes) == 1}


def _bound(node: FunctionNode, scope: Names) -> Iterator[tuple[str, object]]:
    """The names that a function binds, and their objects; a name bound twice is `UNKNOWN`."""
    found: dict[str, list[object]] = {name: [UNKNOWN] for name in Parameters.of(node).all}
    aliases: dict[str, _Alias] = {}
    outer: set[str] = set()
    for each in own_nodes(node):
        for name, value in _bindings(each, scope):
            found.setdefault(name, []).append(value)
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value):
                aliases[name] = _Alias(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                aliases[name] = _Alias(value)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                outer.update(names)
    for name, values in found.items():
        if name not in outer:
            known = aliases.get(name, values[0])
            yield name, known if len(values) == 1 else UNKNOWN


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without the insides of functions and classes that it defines."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            yield from own_nodes(child)


def _bindings(node: ast.AST, scope: Names) -> Iterator[tuple[str, object]]:
    match node:
        case ast.Name(ctx=ast.Store()):
            yield node.id, UNKNOWN
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield node.name, Nested(node, scope)
        case ast.Import():
            for alias in node.names:
                loaded = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or loaded, sys.modules.get(loaded, UNKNOWN)
        case ast.ImportFrom():
            module = _module_of(node, scope)
            for alias in node.names:
                yield alias.asname or alias.name, member(module, alias.name)
        case ast.ClassDef(name=str() as name) | ast.ExceptHandler(name=str() as name):
            yield name, UNKNOWN
        case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
            yield name, UNKNOWN
        case ast.MatchMapping(rest=str() as name):
            yield name, UNKNOWN


def _module_of(node: ast.ImportFrom, scope: Names) -> Any:
    name = "." * node.level + (node.module or "")
    try:
        return sys.modules.get(importlib.util.resolve_name(name, scope.outside.package), UNKNOWN)
    except ImportError:  # beyond the top of the package
        return UNKNOWN
