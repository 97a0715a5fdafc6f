"""Rules of this repository that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import rewake
import rewake.codecs
import rewake.conformance
import rewake.embed
import rewake.testing
import rewake.webhooks

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "runtime" / "rewake"
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("runtime", "tests", "examples", "handlers")
    for path in (ROOT / folder).rglob("*.py")
)
TESTS = [file for file in FILES if Path(file).name.startswith("test_")]
LONGEST = {"runtime": 500, "tests": 600, "examples": 300, "handlers": 100}
"""Lines of a file, by the folder it is in."""
LONGEST_FUNCTION = 45

GROUND = (
    "errors",
    "tags",
    "kinds",
    "states",
    "keep",
    "labels",
    "laps",
    "limited",
    "published",
    "encoded",
    "ledger",
    "sent",
    "keyed",
    "streamed",
    "noted",
    "kin",
    "records",
    "reasons",
    "spelled",
    "access",
    "clock",
    "forks",
    "signing",
    "values",
    "aws",
)
"""What any room may import that stands above it, in this order from the bottom."""

FLOORS = {
    "webhooks": (),
    "schedules": (),
    "replay": (),
    "authoring": ("replay", "webhooks", "schedules"),
    "checking": ("replay", "authoring"),
    "app": ("authoring", "checking", "webhooks", "schedules"),
    "stores": (),
    "dispatchers": (),
    "conformance": ("stores", "dispatchers"),
    "identity": (),
    "views": ("authoring", "stores", "schedules"),
    "engine": ("replay", "authoring", "app", "schedules", "stores", "dispatchers"),
    "doctor": ("authoring", "engine", "identity", "webhooks"),
    "pages": (),
    "http": (
        "schedules",
        "authoring",
        "stores",
        "dispatchers",
        "views",
        "engine",
        "webhooks",
        "pages",
        "identity",
        "doctor",
    ),
    "hosts": ("authoring", "app", "stores", "dispatchers", "engine", "identity", "views", "http"),
    "codecs": (),
    "notify": ("authoring",),
    "embed": ("app", "stores", "dispatchers", "engine", "identity", "http", "hosts"),
    "client": ("authoring", "app", "stores", "dispatchers", "engine", "hosts"),
    "testing": (
        "replay",
        "authoring",
        "app",
        "stores",
        "dispatchers",
        "engine",
        "http",
        "client",
    ),
    "cli": (
        "replay",
        "authoring",
        "app",
        "stores",
        "dispatchers",
        "views",
        "engine",
        "hosts",
        "webhooks",
        "identity",
        "doctor",
        "client",
    ),
}
"""Which rooms a room may import, besides the ground. Each stands above all that it names."""

ENGINE = (
    "settings",
    "process",
    "logs",
    "limits",
    "instances",
    "keeping",
    "services",
    "starts",
    "turns",
    "runs",
    "handover",
    "attempts",
    "outside",
    "alerts",
    "schedules",
    "sweeping",
    "engine",
    "results",
)
"""The rooms of the engine and what stands between them, from the bottom: none imports upwards."""

HOUSEHOLDS = ("remote", "local", "dev", "replay")
"""The households of the command line, which do not import each other."""


@pytest.mark.parametrize("file", TESTS)
def test_every_test_states_its_promise(file: str) -> None:
    """Each test function has a docstring that says what it proves."""
    tree = ast.parse((ROOT / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, functions)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_too_long(file: str) -> None:
    """A file holds one idea, and can be read without losing one's place."""
    lines = (ROOT / file).read_text().splitlines()
    assert len(lines) <= LONGEST[file.partition("/")[0]]


def test_no_function_is_too_long() -> None:
    """A function of the runtime is seen whole, its docstring included."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    long = [
        (path.name, node.name)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, functions)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize(
    "door",
    [rewake, rewake.codecs, rewake.conformance, rewake.embed, rewake.testing, rewake.webhooks],
    ids=lambda door: door.__name__,
)
def test_a_public_door_is_sorted_and_whole(door: ModuleType) -> None:
    """`__all__` lists exactly what the door offers, in order."""
    assert sorted(door.__all__) == door.__all__
    offered = {
        name
        for name, value in vars(door).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("rewake")
    }
    assert offered - set(door.__all__) == set()


# --- the floors --------------------------------------------------------------------------------


def _imports(path: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports of the package, as parts of names without `rewake` itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rewake":
            base = tuple((node.module or "").split(".")[1:])
            if base:
                yield base
            # A name may be that of a module.
            yield from ((*base, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from [tuple(name[1:]) for name in names if name[0] == "rewake" and name[1:]]


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


ROOMS = sorted({_room(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__"})


def test_every_room_has_its_floor() -> None:
    """A room that is added says where it stands, and each stands above what it may import."""
    assert set(ROOMS) == {*GROUND, *FLOORS}
    order = [*GROUND, *FLOORS]
    for room, below in FLOORS.items():
        assert all(order.index(each) < order.index(room) for each in below), room


@pytest.mark.parametrize("room", ROOMS)
def test_no_arrow_points_up(room: str) -> None:
    """A room imports the ground and what its floor allows, and nothing else."""
    allowed = {room, *FLOORS.get(room, ())}
    allowed |= set(GROUND[: GROUND.index(room)] if room in GROUND else GROUND)
    used = {
        parts[0]
        for path in PACKAGE.rglob("*.py")
        if _room(path) == room
        for parts in _imports(path)
    }
    assert used <= allowed


def test_no_permission_is_left_over() -> None:
    """The table of floors allows no import that nobody makes."""
    for room, below in FLOORS.items():
        used = {
            parts[0]
            for path in PACKAGE.rglob("*.py")
            if _room(path) == room
            for parts in _imports(path)
        }
        assert set(below) <= used, room


def test_no_module_imports_itself_by_way_of_others() -> None:
    """There is no circle of modules, also inside of a room."""
    modules = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }
    arrows = {
        name: {found for parts in _imports(path) if (found := ".".join(parts)) in modules}
        for name, path in modules.items()
    }
    while arrows:
        leaves = {name for name, targets in arrows.items() if not targets & arrows.keys()}
        assert leaves, sorted(arrows)
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}


def test_the_households_of_the_command_line_are_apart() -> None:
    """Commands against a server, in this process, for development and for replay hardly meet."""
    for household in HOUSEHOLDS:
        for path in (PACKAGE / "cli" / household).glob("*.py"):
            others = {
                parts[1]
                for parts in _imports(path)
                if parts[:1] == ("cli",) and len(parts) > 1 and parts[1] in HOUSEHOLDS
            }
            assert others <= {household}, path.name


def test_no_arrow_points_up_inside_the_engine() -> None:
    """A room of the engine imports those below it, and each has its place."""
    found: dict[str, set[str]] = {}
    for path in (PACKAGE / "engine").rglob("*.py"):
        room = path.relative_to(PACKAGE / "engine").with_suffix("").parts[0]
        used = {parts[1] for parts in _imports(path) if parts[0] == "engine" and len(parts) > 1}
        found[room] = found.get(room, set()) | used
    del found["__init__"]

    assert found.keys() == set(ENGINE)
    for room, used in found.items():
        assert used <= {*ENGINE[: ENGINE.index(room) + 1]}, room


_LONG = re.compile(r"mark\.long\b|\bsampled\(")


def test_what_takes_long_is_where_make_looks_for_it() -> None:
    """`make long` collects some folders only, and leaves out no test that is marked for it."""
    said = re.search(r"^LONG := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert said is not None
    marked = (
        path for path in (ROOT / "tests").rglob("test_*.py") if _LONG.search(path.read_text())
    )
    assert {path.relative_to(ROOT / "tests").parts[0] for path in marked} == {*said[1].split()}
