"""A check of workflow code for the clock, chance, ids and I/O, when an app is loaded.

I/O is refused when it happens (`rewake.replay.guard`). Nothing can refuse `time.time()`: it has no
effect outside, and Python does not tell of it. So the source of a workflow is read once, before it
runs. Code that gives another answer on replay gets a `DeterminismWarning`, which says what to use
instead.

**By identity.** A call is judged by the object that it calls, not by its spelling: names and
attributes are looked up in the function's closure, its module and builtins, without running any of
the user's code, and the object found is compared with the functions of a table. So
`from time import time as t` is seen, and a user's own `time()` is not mistaken for it.

**Only what runs in the body.** The search goes on into functions of the same package or folder that
the body refers to: helpers, branches, methods, lambdas. It leaves out code that runs elsewhere:
tasks, and functions that are passed to `task()` or `step()`, also by way of a helper that only
passes them on.

**In doubt, silent.** A name that cannot be looked up, such as a method of a parameter, is not
judged, and without source there is no check. So every warning is right about its line.
"""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rewake.authoring.attempt import is_async
from rewake.authoring.polling import wait_until
from rewake.authoring.step import step
from rewake.authoring.task import Task, task
from rewake.authoring.workflow import Workflow
from rewake.checking.names import (
    ELSEWHERE,
    UNKNOWN,
    FunctionNode,
    Instance,
    Names,
    Nested,
    Outside,
    Parameters,
    Sources,
    member,
    own_nodes,
    without_partial,
)
from rewake.errors import DeterminismWarning
from rewake.replay.guard import is_installed

log = logging.getLogger("rewake.determinism")

_TABLE: Final[Mapping[str, Mapping[str, str]]] = {
    "replay would see another time; use rewake.now()": {
        "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time"
        " process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns localtime/0"
        " gmtime/0 ctime/0 asctime/0 strftime/1",
        "datetime": "datetime.now datetime.utcnow datetime.today date.today",
    },
    "it blocks the server; use await rewake.sleep()": {"time": "sleep"},
    "replay would see other numbers; use rewake.random()": {
        "random": "Random/0 betavariate binomialvariate choice choices expovariate gammavariate"
        " gauss getrandbits lognormvariate normalvariate paretovariate randbytes randint random"
        " randrange sample seed shuffle triangular uniform vonmisesvariate weibullvariate",
        "numpy.random": "choice default_rng/0 normal permutation rand randint randn random seed"
        " shuffle uniform",
    },
    "replay would see another id; use rewake.uuid4()": {"uuid": "uuid1 uuid4 uuid6 uuid7"},
    "replay would see another secret; put it into a step()": {
        "os": "getrandom urandom",
        "secrets": "SystemRandom choice randbelow randbits token_bytes token_hex token_urlsafe",
    },
    "another replica may have another value; put it into a step()": {
        "os": "cpu_count getcwd getenv getenvb getlogin getpid getppid uname",
        "platform": "node platform uname",
        "socket": "getfqdn gethostname",
    },
    "replay would do it again; put it into a @task or a step()": {
        "builtins": "input open",
        "concurrent.futures._base": "Executor.map Executor.submit",
        "concurrent.futures.process": "ProcessPoolExecutor.map ProcessPoolExecutor.submit",
        "concurrent.futures.thread": "ThreadPoolExecutor.submit",
        "http.client": "HTTPConnection.connect HTTPConnection.request",
        "httpx": "Client.get Client.post Client.request delete get head patch post put request",
        "os": "access kill listdir lstat makedirs mkdir open popen readlink remove rename replace"
        " rmdir scandir stat system unlink walk",
        "os.path": "exists getmtime getsize isdir isfile lexists",
        "pathlib": "Path.exists Path.glob Path.is_dir Path.is_file Path.iterdir Path.mkdir"
        " Path.open Path.read_bytes Path.read_text Path.rename Path.rglob Path.rmdir Path.stat"
        " Path.touch Path.unlink Path.write_bytes Path.write_text",
        "requests": "Session.get Session.post Session.request delete get head patch post put"
        " request",
        "shutil": "copy copy2 copyfile copytree disk_usage move rmtree which",
        "socket": "create_connection getaddrinfo gethostbyname",
        "sqlite3": "Connection.commit Connection.execute Connection.executemany connect",
        "subprocess": "Popen call check_call check_output getoutput getstatusoutput run",
        "tempfile": "NamedTemporaryFile TemporaryDirectory TemporaryFile mkdtemp mkstemp",
        "threading": "Thread.start",
        "urllib.request": "urlopen urlretrieve",
    },
}
"""The functions to warn of, by warning and module. `/1`: only with at most one argument."""

_READ: Final[Mapping[str, Mapping[str, str]]] = {
    "another replica may have other settings; read them in a step()": {"os": "environ environb"},
}
"""The same for attributes that are not called but read."""


@dataclass(frozen=True, slots=True)
class _Culprit:
    """One entry of the tables. `most`: it counts only with at most so many arguments."""

    found: object
    name: str
    why: str
    most: int | None
    is_called: bool

    def is_meant(self, call: ast.Call | None) -> bool:
        """Whether this use of the object is to be warned of."""
        if call is None or not self.is_called:
            return call is None and not self.is_called
        if self.most is None:
            return True
        given = [*call.args, *(each.value for each in call.keywords)]
        unpacked = any(isinstance(each, ast.Starred) for each in given)
        return len(given) <= self.most and not unpacked

    def told(self, node: ast.expr) -> str:
        """The warning: the use of the object, the reason, and what to use instead."""
        written = ast.unparse(node)
        if not written.replace(".", "").isidentifier():
            written = self.name
        known = written.rpartition(".")[2] == self.name.rpartition(".")[2]
        use = f"calls {written}()" if self.is_called else f"reads {written}"
        return f"{use}{'' if known else f' ({self.name})'}: {self.why}"


@dataclass(frozen=True, slots=True)
class _Finding:
    """A line of a workflow's code that does not belong there."""

    file: str
    line: int
    module: str
    what: str


def check(workflows: Iterable[Workflow[Any, Any]]) -> None:
    """Warn of code in these workflows that gives another answer on replay, once for each line."""
    culprits, sources, told = _culprits(), Sources(), set[_Finding]()
    for workflow in workflows:
        for each in _findings(workflow, culprits, sources):
            if each not in told:
                told.add(each)
                _warn(f"workflow {workflow.name!r} {each.what}", each)


def check_tasks(tasks: Iterable[Task[Any, Any]]) -> None:
    """Warn of async tasks that call `time.sleep()` themselves: all else in the process waits."""
    sources = Sources()
    for each in tasks:
        function = inspect.unwrap(each.function)
        if not isinstance(function, types.FunctionType) or not is_async(function):
            continue
        node = sources.node(function)
        scope = Names(node, Outside(function), _makes_task) if node is not None else None
        for part in own_nodes(node) if node is not None else ():
            if scope and isinstance(part, ast.Call) and scope.resolve(part.func) is time.sleep:
                place = scope.outside
                finding = _Finding(place.file, part.lineno, place.module, _SLEEPS)
                _warn(f"task {each.name!r} {_SLEEPS}", finding)


_SLEEPS: Final = (
    "calls time.sleep() and is async: all other work of the server waits as long, and a timeout "
    "cannot end it; use await asyncio.sleep(), or make it a sync function"
)


def _warn(told: str, finding: _Finding) -> None:
    warning = DeterminismWarning(told)
    warning.add_note(f"({finding.file}, line {finding.line})")
    warnings.warn_explicit(warning, None, finding.file, finding.line, finding.module)


def _findings(
    workflow: Workflow[Any, Any], culprits: Mapping[int, _Culprit], sources: Sources
) -> list[_Finding]:
    search = _Search(workflow, culprits, sources)
    try:
        search.follow(workflow)
    except Exception:  # the app is served all the same
        log.debug("%r could not be checked", workflow, exc_info=True)
    return search.findings


def _culprits() -> dict[int, _Culprit]:
    """The table by identity, as far as its modules are loaded."""
    entries = (
        _culprit(module, name, why, is_called)
        for table, is_called in ((_TABLE, True), (_READ, False))
        for why, modules in table.items()
        for module, names in modules.items()
        for name in names.split()
    )
    return {id(each.found): each for each in entries if each.found is not UNKNOWN}


def _culprit(module: str, name: str, why: str, is_called: bool) -> _Culprit:
    path, _, most = name.partition("/")
    found: object = sys.modules.get(module, UNKNOWN)
    for part in path.split("."):
        found = member(found, part)
    full = path if module == "builtins" else f"{module}.{path}"
    return _Culprit(found, full, why, int(most) if most else None, is_called)


@dataclass(slots=True)
class _Uses:
    """The names that the code of a function uses, and those that it passes on to run elsewhere."""

    used: set[str] = field(default_factory=set)
    passed_on: set[str] = field(default_factory=set)

    def only_passes_on(self, name: str) -> bool:
        return name in self.passed_on and name not in self.used

    def add(self, other: _Uses) -> None:
        self.used |= other.used
        self.passed_on |= other.passed_on


class _Search:
    """The search through all code that runs in one workflow's body."""

    def __init__(
        self, workflow: Workflow[Any, Any], culprits: Mapping[int, _Culprit], sources: Sources
    ) -> None:
        self.findings: list[_Finding] = []
        self._culprits = culprits
        self._sources = sources
        self._main = main = inspect.unwrap(workflow.function)
        self._package = _package(main)
        self._folder = Path(main.__code__.co_filename).parent
        self._seen: dict[object, _Uses] = {}

    def follow(self, found: object) -> tuple[FunctionNode, _Uses] | None:
        """Search the object if it is a function of the user's; returns None if it is not."""
        if isinstance(found, Nested):
            return found.node, self.body(found.node, found.node, found.scope.inner)
        function = _plain(found)
        if function is None:
            return None
        if "__wrapped__" in vars(function):
            self.follow(function.__wrapped__)  # type: ignore[attr-defined]
        node = self._sources.node(function) if self._is_users(function) else None
        if node is None:
            return None
        return node, self.body(
            function.__code__, node, lambda node: Names(node, Outside(function), _makes_task)
        )

    def body(
        self, key: object, node: FunctionNode, scope: Callable[[FunctionNode], Names]
    ) -> _Uses:
        """Search the body of a function, once."""
        if key not in self._seen:
            self._seen[key] = uses = _Uses()
            visitor = _Body(self, scope(node), uses)
            for each in node.body if isinstance(node.body, list) else [node.body]:
                visitor.visit(each)
        return self._seen[key]

    def judge(self, node: ast.expr, scope: Names, found: object, call: ast.Call | None) -> None:
        """Note a finding if the object must not be called or read."""
        culprit = self._culprits.get(id(found))
        if culprit is not None and culprit.is_meant(call):
            self.note(scope, node.lineno, culprit.told(node))

    def note(self, scope: Names, line: int, what: str) -> None:
        """Note a finding."""
        self.findings.append(_Finding(scope.outside.file, line, scope.outside.module, what))

    def _is_users(self, function: types.FunctionType) -> bool:
        """Whether it is in the package of the workflow, or in its folder."""
        if function is self._main or (self._package and _package(function) == self._package):
            return True
        file = function.__code__.co_filename
        return (
            not is_installed(file)
            and _package(function) != "rewake"
            and Path(file).is_relative_to(self._folder)
        )


class _Body(ast.NodeVisitor):
    """The code of one function, as it runs in the body of a workflow."""

    def __init__(self, search: _Search, scope: Names, uses: _Uses) -> None:
        self._search = search
        self._scope = scope
        self._uses = uses

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Visit decorators and defaults; a reference to the function searches its body."""
        self._visit_all((*node.decorator_list, *_defaults(node)))

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all(_defaults(node))
        self._uses.add(self._search.body(node, node, self._scope.inner))

    def visit_Global(self, node: ast.Global) -> None:
        self._search.note(
            self._scope,
            node.lineno,
            f"changes the global {', '.join(node.names)}: replay would change it again, and other "
            "runs and replicas have their own; keep it in a local variable, or return it",
        )

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._uses.used.add(node.id)
            self._refer(node, self._scope.find(node.id))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self._refer(node, self._scope.resolve(node))
        if not node.attr.startswith("__"):  # `function.__name__` is no use of the function
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        called = self._scope.resolve(node.func)
        self._search.judge(node.func, self._scope, called, node)
        self.visit(node.func)
        if isinstance(called, type):
            for name in ("__new__", "__init__", "__post_init__"):
                self._search.follow(member(called, name))
        goes_elsewhere = self._passes_on(node.func, called)
        for position, argument in _arguments(node):
            if goes_elsewhere(position):
                self._pass_on(argument)
            else:
                self.visit(argument)

    def _refer(self, node: ast.expr, found: object) -> None:
        self._search.judge(node, self._scope, found, None)
        searched = self._search.follow(found)
        if searched is not None and isinstance(found, Nested):
            self._uses.add(searched[1])

    def _passes_on(self, node: ast.expr, called: object) -> Callable[[int | str | None], bool]:
        """A test for arguments that run elsewhere if they are functions: of unknown calls, all."""
        target = without_partial(called)
        if any(target is each for each in _ALWAYS) or isinstance(target, Task | Instance):
            return _always
        if isinstance(target, type):
            return _never if target.__module__ in ("builtins", "functools") else _always
        searched = self._search.follow(target)
        if searched is None:
            return _never
        function, uses = searched
        parameters, before = Parameters.of(function), self._is_method(node)
        return lambda position: uses.only_passes_on(
            parameters.at(position + before if isinstance(position, int) else position)
        )

    def _is_method(self, node: ast.expr) -> bool:
        """Whether the call passes the object before the dot as first argument."""
        if not isinstance(node, ast.Attribute):
            return False
        return not isinstance(self._scope.resolve(node.value), type | types.ModuleType)

    def _pass_on(self, node: ast.expr) -> None:
        """Visit an argument that runs elsewhere if it is a function."""
        match node:
            case ast.Lambda():
                self._visit_all(_defaults(node))
                self._uses.passed_on |= _names_in(node)
            case ast.Name():
                self._uses.passed_on.add(node.id)
                found = self._scope.find(node.id)
                if isinstance(found, Nested):
                    self._uses.passed_on |= _names_in(found.node)
            case ast.Attribute():
                self._search.judge(node, self._scope, self._scope.resolve(node), None)
            case ast.Call() if self._scope.resolve(node.func) is functools.partial:
                for _, each in _arguments(node):
                    self._pass_on(each)
            case ast.Starred() | ast.Tuple() | ast.List() | ast.IfExp():
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self._pass_on(child)
            case _:
                self.visit(node)

    def _visit_all(self, nodes: Iterable[ast.expr]) -> None:
        for each in nodes:
            self.visit(each)


_ALWAYS: Final = (step, task, wait_until, ELSEWHERE, UNKNOWN)


def _makes_task(found: object) -> bool:
    return without_partial(found) is task


def _plain(found: object) -> types.FunctionType | None:
    """The function inside a method, partial, workflow or the like; None for tasks and the rest."""
    while not isinstance(found, types.FunctionType):
        match found:
            case functools.partial():
                found = found.func
            case types.MethodType():
                found = found.__func__
            case Workflow():
                found = found.function
            case functools._lru_cache_wrapper():
                found = found.__wrapped__
            case _:
                return None
    return found


def _package(function: types.FunctionType) -> str:
    """The top-level package of a function; empty in a module that is in no package."""
    top, dot, _ = str(function.__globals__.get("__name__")).partition(".")
    return top if dot else ""


def _arguments(call: ast.Call) -> Iterator[tuple[int | str | None, ast.expr]]:
    yield from enumerate(call.args)
    for keyword in call.keywords:
        yield keyword.arg, keyword.value


def _defaults(node: FunctionNode) -> Iterator[ast.expr]:
    yield from node.args.defaults
    yield from (each for each in node.args.kw_defaults if each is not None)


def _names_in(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _always(_: object) -> bool:
    return True


def _never(_: object) -> bool:
    return False
