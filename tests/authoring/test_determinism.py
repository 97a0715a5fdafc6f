"""What a workflow does that would be otherwise on a replay is warned of when its app is loaded."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rewake
from rewake import DeterminismWarning, workflow
from rewake.app import load_app
from rewake.checking import determinism
from rewake.checking.names import UNKNOWN

HEAD = """
import asyncio
import concurrent.futures
import contextlib
import datetime as dt
import functools
import os
import platform
import random
import secrets
import socket
import sqlite3
import subprocess
import time
import urllib.request
import uuid
from datetime import date, datetime
from pathlib import Path
from time import time as t
from uuid import uuid4 as new_id

import rewake
from rewake import now, parallel, race, sleep, step, task, workflow

CONFIG = Path("config")
POOL = concurrent.futures.ThreadPoolExecutor()
DICE = random.Random(7)
"""

Load = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Load an app with this in the body of its workflow, and give the warnings, with their lines.

    `above` stands before the workflow; other files are given by name.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def load(body: str, above: str = "", **files: str) -> list[str]:
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        code = f"{HEAD}{textwrap.dedent(above)}\n@workflow\nasync def main(given=None):\n"
        app = tmp_path / "an_app.py"
        app.write_text(code + textwrap.indent(textwrap.dedent(body).strip(), "    ") + "\n")
        return warned(str(app))

    yield load
    for name in set(sys.modules) - before:
        where = getattr(sys.modules[name], "__file__", None) or ""
        if Path(where).is_relative_to(tmp_path):
            del sys.modules[name]


def warned(source: str) -> list[str]:
    """What loading an app warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_app(source)
    assert {each.category for each in caught} <= {DeterminismWarning}
    return [str(each.message) for each in caught]


NOW = "replay would see another time; use rewake.now()"
RANDOM = "replay would see other numbers; use rewake.random()"
UUID = "replay would see another id; use rewake.uuid4()"
SECRET = "replay would see another secret; put it into a step()"
HERE = "another replica may have another value; put it into a step()"
AGAIN = "replay would do it again; put it into a @task or a step()"

CALLS = {
    "datetime.now()": f"calls datetime.now(): {NOW}",
    "datetime.now(dt.UTC)": f"calls datetime.now(): {NOW}",
    "dt.datetime.utcnow()": f"calls dt.datetime.utcnow(): {NOW}",
    "datetime.today()": f"calls datetime.today(): {NOW}",
    "date.today()": f"calls date.today(): {NOW}",
    "time.time()": f"calls time.time(): {NOW}",
    "t()": f"calls t() (time.time): {NOW}",
    "time.monotonic_ns()": f"calls time.monotonic_ns(): {NOW}",
    "time.perf_counter()": f"calls time.perf_counter(): {NOW}",
    "time.localtime()": f"calls time.localtime(): {NOW}",
    "time.strftime('%Y')": f"calls time.strftime(): {NOW}",
    "time.sleep(1)": "calls time.sleep(): it blocks the server; use await rewake.sleep()",
    "random.random()": f"calls random.random(): {RANDOM}",
    "random.choice([1])": f"calls random.choice(): {RANDOM}",
    "random.Random()": f"calls random.Random(): {RANDOM}",
    "random.SystemRandom()": f"calls random.SystemRandom(): {SECRET}",
    "secrets.token_hex()": f"calls secrets.token_hex(): {SECRET}",
    "os.urandom(8)": f"calls os.urandom(): {SECRET}",
    "uuid.uuid1()": f"calls uuid.uuid1(): {UUID}",
    "new_id()": f"calls new_id() (uuid.uuid4): {UUID}",
    "os.getenv('HOME')": f"calls os.getenv(): {HERE}",
    "os.getpid()": f"calls os.getpid(): {HERE}",
    "socket.gethostname()": f"calls socket.gethostname(): {HERE}",
    "platform.node()": f"calls platform.node(): {HERE}",
    "os.environ['HOME']": "reads os.environ: another replica may have other settings; "
    "read them in a step()",
    "os.environ.get('HOME')": "reads os.environ: another replica may have other settings; "
    "read them in a step()",
    "open('x')": f"calls open(): {AGAIN}",
    "input()": f"calls input(): {AGAIN}",
    "os.path.exists('x')": f"calls os.path.exists(): {AGAIN}",
    "Path('x').read_text()": f"calls pathlib.Path.read_text(): {AGAIN}",
    "CONFIG.exists()": f"calls CONFIG.exists(): {AGAIN}",
    "POOL.submit(print)": f"calls POOL.submit(): {AGAIN}",
    "sqlite3.connect('x')": f"calls sqlite3.connect(): {AGAIN}",
    "subprocess.run(['x'])": f"calls subprocess.run(): {AGAIN}",
    "urllib.request.urlopen('x')": f"calls urllib.request.urlopen(): {AGAIN}",
}


def test_what_is_warned_of(load: Load) -> None:
    """Each call is named as it is written and as it is known, with the reason and the fix."""
    found = load("\n".join(CALLS))
    assert found == [f"workflow 'main' {each}" for each in CALLS.values()]


def test_the_table_names_what_there_is() -> None:
    """Every function of the standard library in the table exists, on some Python at least."""
    newer = {"binomialvariate", "uuid6", "uuid7", "getrandom", "thread_time", "thread_time_ns"}
    tables = (determinism._TABLE, determinism._READ)
    for modules in (each for table in tables for each in table.values()):
        for module, names in modules.items():
            if module.partition(".")[0] not in sys.stdlib_module_names:
                continue
            __import__(module)
            for name in names.split():
                culprit = determinism._culprit(module, name, "", True)
                known = culprit.found is not UNKNOWN
                assert known or name in newer, f"{module}.{name}"


FINE = {
    "nothing of the kind": "await sleep(1); now(); rewake.random().random(); rewake.uuid4()",
    "a time that is given": "time.localtime(3); time.strftime('%Y', time.gmtime(3))",
    "a seed that is given": "DICE.random(); random.Random(7).choice([1])",
    "durations and dates": "dt.timedelta(days=1); datetime(2020, 1, 1).isoformat(); date(1, 1, 1)",
    "paths": "Path('x') / 'y'; CONFIG.name; os.path.join('x', 'y')",
    "names of its own": """
        time = given
        time.time()
        open = given
        open()
        for random in given:
            random.random()
    """,
    "asyncio": "asyncio.get_running_loop().time(); await asyncio.sleep(1)",
    "in a step": """
        await step("a", lambda: time.time())
        await step("b", time.time)
        await step("c", functools.partial(os.getenv, "x"))
        await step("d", lambda: [open(x) for x in given], retries=3)
        await rewake.step("e", function=uuid.uuid4) if given else None
    """,
    "in a task": """
        await task(lambda: time.time())
        await task(retries=3)(lambda: time.time())()
        durable = functools.partial(task, retries=3)
        await durable(lambda: time.time())
        work = task(read_clock)
        await work()
        await (task(read_clock) if given else task(retries=1)(read_clock))
        await parallel(given, task(lambda x: open(x)))
    """,
    "in a function that is a step": """
        def fetch():
            return time.time(), inner()

        def inner():
            return uuid.uuid4()

        await step("fetch", fetch if given else inner)
    """,
    "in a function that is a task": """
        @task
        def fetch(x):
            return time.time()

        @task(retries=3)
        async def fetch_again():
            return open("x")

        await fetch(lambda: time.time())
        await parallel(given, fetch)
        await fetch_again()
    """,
    "in a task of the module": "await a_task(); await parallel(given, a_task)",
    "by way of a helper": """
        await durable("a", lambda: time.time())
        await durable(name="b", function=read_clock)
        await twice_durable(lambda: time.time())
        await helper.durable(read_clock)
    """,
    "what is unknown": """
        given.register(lambda: time.time())
        given(read_clock)
        given.time()
        Runner(lambda: time.time())
    """,
    "never called": "read_clock.__name__; isinstance(given, datetime); callable(given)\n"
    "def unused(): return time.time()",
}

ABOVE = """
def read_clock():
    return time.time()

@task
def a_task(x=None):
    return time.time()

async def durable(name, function):
    async def attempt():
        return function()

    return await step(f"{name} {function.__name__}", attempt, retries=3)

async def twice_durable(function):
    return await durable("twice", function)

class Helper:
    async def durable(self, function):
        return await step("x", function)

class Runner:
    def __init__(self, function):
        self.function = function

helper = Helper()
"""


@pytest.mark.parametrize("body", FINE.values(), ids=FINE.keys())
def test_what_is_fine(load: Load, body: str) -> None:
    """No warning of what is the same on a replay, runs elsewhere, or cannot be known."""
    assert load(body, ABOVE) == []


REACHED = {
    "a helper": "read_clock()",
    "an async helper": "await aread_clock()",
    "a helper of a helper": "further()",
    "a recursive helper": "recursive(3)",
    "a nested function": "def inner(): return time.time()\ninner()",
    "a closure": "def inner():\n    def more(): return time.time()\n    return more()\ninner()",
    "a lambda": "(lambda: time.time())()",
    "a key": "sorted(given, key=lambda x: time.time())",
    "a comprehension": "[time.time() for _ in given]",
    "an f-string": "f'{time.time()}'",
    "an argument of a task": "await a_task(time.time())",
    "an argument of a partial": "await step('x', functools.partial(str, time.time()))",
    "a default value": "await step('x', lambda at=time.time(): at)",
    "a branch of parallel": "async def one(x): return time.time()\nawait parallel(given, one)",
    "branches of race": "await race(aread_clock(), sleep(1))",
    "branches of gather": "await asyncio.gather(*(aread_clock() for _ in given))",
    "a task of asyncio": "asyncio.create_task(aread_clock())",
    "a task group": "async with asyncio.TaskGroup() as g:\n    g.create_task(aread_clock())",
    "a map": "list(map(lambda x: time.time(), given))",
    "a method": "helper.clock()",
    "a method of a new object": "Helper().clock()",
    "a class method": "Helper.make()",
    "a static method": "Helper.plain()",
    "a constructor": "Timed()",
    "a context manager": "with timed(): pass",
    "a cached function": "cached()",
    "a decorated function": "decorated()",
    "a local alias": "clock = time.time\nclock()",
    "a local import": "from time import time as clock\nclock()",
    "another local import": "import time as clock\nclock.time()",
    "a helper that calls it": "await calls(lambda: time.time())",
    "a helper that calls it and passes it on": "await both(lambda: time.time())",
}

FURTHER = """
async def aread_clock():
    return time.time()

def further():
    return [read_clock()]

def recursive(n):
    return recursive(n - 1) if n else time.time()

async def calls(function):
    return function()

async def both(function):
    function()
    return await step("x", function)

class Helper:
    def clock(self):
        return time.time()

    @classmethod
    def make(cls):
        return time.time()

    @staticmethod
    def plain():
        return time.time()

class Timed:
    def __init__(self):
        self.at = time.time()

@contextlib.contextmanager
def timed():
    yield time.time()

@functools.lru_cache
def cached():
    return time.time()

def decorate(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

@decorate
def decorated():
    return time.time()

helper = Helper()
"""


@pytest.mark.parametrize("body", REACHED.values(), ids=REACHED.keys())
def test_what_is_reached(load: Load, body: str) -> None:
    """Whatever the body runs of the user's code is searched, each line once."""
    found = load(body, ABOVE + FURTHER)
    assert len(found) == 1, found
    assert found[0].endswith(NOW)


def test_other_files_of_the_user_are_searched_and_libraries_are_not(
    load: Load, tmp_path: Path
) -> None:
    """A module beside the app is the user's; the standard library and Rewake are not."""
    found = load(
        "beside.stamp()\ntempfile.gettempdir()\nsecrets.compare_digest('a', 'b')\nawait sleep(1)",
        "import beside, tempfile",
        beside="import uuid\n\ndef stamp():\n    return uuid.uuid4()\n",
    )
    assert found == [f"workflow 'main' calls uuid.uuid4(): {UUID}"]


def test_a_package_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the workflow's package is the user's, with its relative imports."""
    package = tmp_path / "a_package_of_mine"
    (package / "flows").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "flows" / "__init__.py").touch()
    (package / "clocks.py").write_text("import time\ndef read():\n    return time.time()\n")
    (package / "flows" / "app.py").write_text(
        "from rewake import workflow\n"
        "from a_package_of_mine import clocks\n"
        "@workflow\nasync def main():\n    from ..clocks import read\n    read()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = warned("a_package_of_mine.flows.app")
    assert found == [f"workflow 'main' calls time.time(): {NOW}"]


def test_a_warning_says_where(load: Load, tmp_path: Path) -> None:
    """It has the file, the line and the module; as an error, a note with them."""
    load("x = 1\ny = time.time()")
    file = tmp_path / "an_app.py"
    line = file.read_text().splitlines().index("    y = time.time()") + 1
    with pytest.warns(DeterminismWarning) as caught:
        load_app(str(file))
    assert [(each.filename, each.lineno) for each in caught] == [(str(file), line)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeterminismWarning)
        with pytest.raises(DeterminismWarning) as raised:
            load_app(str(file))
    assert raised.value.__notes__ == [f"({file}, line {line})"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeterminismWarning, module="an_app")
        load_app(str(file))


def test_another_workflow_that_is_called_is_searched(load: Load) -> None:
    """Called in a body, a workflow is a plain function, also one that the app does not list."""
    beside = """
    import time
    from rewake import workflow

    @workflow
    async def other():
        return time.time()
    """
    found = load("await beside.other()", "import beside", beside=beside)
    assert found == [f"workflow 'main' calls time.time(): {NOW}"]


def test_a_line_is_told_once_for_all_workflows(load: Load) -> None:
    """A helper that two workflows share is warned of once."""
    found = load("read_clock()", f"{ABOVE}\n@workflow\nasync def another():\n    read_clock()\n")
    assert len(found) == 1


def test_every_load_warns_again(load: Load, tmp_path: Path) -> None:
    """A server that is started anew says it anew; starting a run says nothing."""
    load("time.time()")
    with pytest.warns(DeterminismWarning):
        app, _ = load_app(str(tmp_path / "an_app.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app.workflow("main").call({}).close()


def test_without_source_it_is_silent() -> None:
    """A workflow that was typed at a prompt, or whose file is gone, is not judged."""
    names: dict[str, Any] = {"workflow": workflow}
    exec("import time\n@workflow\nasync def main():\n    return time.time()\n", names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        determinism.check([names["main"]])


def test_what_cannot_be_analysed_stops_nobody(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of the check is no reason not to serve the app."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(determinism._Body, "visit_Call", broken)
    assert load("time.time()") == []


def test_no_objects_code_is_run(load: Load) -> None:
    """Attributes are looked up without calling properties or `__getattr__`."""
    above = """
    class Angry:
        def __getattr__(self, name):
            raise SystemExit(name)

        def __eq__(self, other):
            raise SystemExit("==")

        __hash__ = None

        @property
        def clock(self):
            raise SystemExit("clock")

    angry = Angry()
    """
    assert load("angry.clock(); angry.more.time(); angry(lambda: 1)", above) == []


def test_the_examples_are_fine() -> None:
    """What Rewake shows as an example is deterministic."""
    example = Path(rewake.__file__).parents[2] / "examples" / "link_report.py"
    assert warned(str(example)) == []


def test_a_global_that_is_changed_is_warned_of(load: Load) -> None:
    """In the body itself and in a helper: replay would change it again."""
    above = "COUNT = 0\ndef helper():\n    global COUNT\n    COUNT += 1\n"
    said = load("helper()\nglobal CONFIG\nCONFIG = 3", above)
    assert [each for each in said if "changes the global COUNT" in each]
    assert [each for each in said if "changes the global CONFIG" in each]


def test_an_async_task_that_blocks_is_warned_of(load: Load) -> None:
    """`time.sleep` in an async task stops the server; in a sync task, or a thread, it does not."""
    above = """
        @task
        async def blocks():
            time.sleep(1)

        @task
        def sync():
            time.sleep(1)

        @task
        async def elsewhere():
            await asyncio.to_thread(time.sleep, 1)
            await asyncio.to_thread(lambda: time.sleep(1))
    """
    said = load("await blocks()", above)
    assert len(said) == 1
    assert "task 'blocks' calls time.sleep() and is async" in said[0]
