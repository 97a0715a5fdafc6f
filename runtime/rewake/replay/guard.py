"""Blocking I/O in a workflow body is refused, whatever library it hides in.

The event loop of a workflow has no sockets, files or threads (`rewake.replay.loop`), but nothing
keeps a body from calling `open()`. Python tells of such calls: it raises an *audit event* before
it opens a file, connects a socket or starts a thread, and a hook that raises an exception keeps
that from happening. One hook serves the whole process. It acts only where a workflow loop is the
running loop of the thread, so tasks, steps and the server are not concerned, but the `finally`
blocks of a dropped instance are guarded too.

**It must not depend on the process.** A call that is refused live must be refused on every replay,
so nothing may be refused that a process does once, at any moment, and then remembers:

- imports, and reading what belongs to the installed code: its modules, their data, time zones;
- machinery that may run under any code: logging, warnings, tracebacks, debuggers, coverage, and
  the finalisers of objects that the collector finds at that moment;
- values being pickled and unpickled, which happens once live and again on replay.

The stack between the call and the workflow's loop shows whether the call is one of these. It is
read only after an event that matters, inside a workflow; any other event costs one look-up in a
dictionary.

Python has no event for things open already (a connection that a module keeps, an idle thread of a
pool), for looking at a file's size or date, for printing, and before 3.13 for `time.sleep`. The
static check in `rewake.checking.determinism` sees some of that. For threads there is an event from
3.12 on; on 3.11 it is raised from here.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rewake.errors import ForbiddenInWorkflow

_EVENTS: Final = {
    "files": (
        "open",
        "fcntl.fcntl",
        "fcntl.flock",
        "fcntl.ioctl",
        "fcntl.lockf",
        "glob.glob",
        "mmap.__new__",
        "os.chdir",
        "os.chflags",
        "os.chmod",
        "os.chown",
        "os.fwalk",
        "os.getxattr",
        "os.link",
        "os.listdir",
        "os.listxattr",
        "os.lockf",
        "os.mkdir",
        "os.remove",
        "os.removexattr",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.setxattr",
        "os.symlink",
        "os.truncate",
        "os.utime",
        "os.walk",
        "pathlib.Path.glob",
        "pathlib.Path.rglob",
        "pathlib.Path.walk",
        "shutil.chown",
        "shutil.copyfile",
        "shutil.copymode",
        "shutil.copystat",
        "shutil.copytree",
        "shutil.make_archive",
        "shutil.move",
        "shutil.rmtree",
        "shutil.unpack_archive",
        "tempfile.mkdtemp",
        "tempfile.mkstemp",
    ),
    "a database": ("sqlite3.connect",),
    "the network": (
        "ftplib.connect",
        "ftplib.sendcmd",
        "http.client.connect",
        "http.client.send",
        "imaplib.open",
        "imaplib.send",
        "nntplib.connect",
        "nntplib.putline",
        "poplib.connect",
        "poplib.putline",
        "smtplib.connect",
        "smtplib.send",
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.gethostname",
        "socket.getnameinfo",
        "socket.getservbyname",
        "socket.getservbyport",
        "socket.sendmsg",
        "socket.sendto",
        "socket.sethostname",
        "telnetlib.Telnet.open",
        "telnetlib.Telnet.write",
        "urllib.Request",
        "webbrowser.open",
    ),
    "subprocesses": (
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.startfile",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
    ),
    "threads": ("_thread.start_new_thread", "_thread.start_joinable_thread"),
    "signals": ("os.kill", "os.killpg", "signal.pthread_kill"),
    "the settings of the process": (
        "os.putenv",
        "os.unsetenv",
        "resource.prlimit",
        "resource.setrlimit",
    ),
    "the terminal": ("builtins.input",),
    "the system log": ("syslog.openlog", "syslog.syslog"),
    "blocking waits": ("time.sleep",),
}
_REFUSED: Final = {event: what for what, events in _EVENTS.items() for event in events}
_FURTHER: Final = {"blocking waits": " To wait, use await sleep()."}

_MACHINERY: Final = frozenset(
    {
        *("_frozen_importlib", "_frozen_importlib_external", "importlib", "pkgutil", "zipimport"),
        *("linecache", "logging", "tokenize", "traceback", "warnings"),
        *("bdb", "cmd", "code", "inspect", "pdb", "rlcompleter"),
        *("gettext", "mimetypes", "zoneinfo"),  # they read once, and remember
        "weakref",  # `weakref.finalize`, whenever the collector runs
    }
)
"""Modules of the standard library under which anything may be opened."""

_FOREIGN_MACHINERY: Final = frozenset(
    {
        *("IPython", "_pydev_bundle", "_pydevd_bundle", "debugpy", "ipdb", "pudb", "pydevd"),
        *("coverage", "loguru"),
    }
)
"""Third-party modules of that sort, wherever they are installed."""

_CORE: Final = frozenset({"rewake.replay.loop", "rewake.replay.execution"})
_CODECS: Final = frozenset({"rewake.values.codecs", "rewake.values.pickles"})
_READING: Final = frozenset({"open", "os.listdir", "os.scandir"})
_WRITES: Final = frozenset("wax+")
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def refusal(what: str, name: str) -> str:
    """The message that refuses `name` to a workflow body, and tells what to do instead."""
    return (
        f"a workflow body cannot use {what} ({name}): it is replayed and must stay "
        f"deterministic. Put this into a @task, or into a step().{_FURTHER.get(what, '')}"
    )


@functools.cache
def install(guarded: type[asyncio.AbstractEventLoop]) -> None:
    """Refuse blocking I/O from now on, wherever a `guarded` loop is the running one."""
    _library()  # Cached now, since the hook would judge the files that it opens.
    running = asyncio._get_running_loop
    refused = _REFUSED  # in the closure: globals may be gone when the interpreter ends

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in refused and isinstance(running(), guarded):
            _judge(event, args)

    sys.addaudithook(hook)
    if sys.version_info < (3, 12):
        _tell_of_threads()


def _tell_of_threads() -> None:
    """Let `threading` raise the event that it raises by itself from Python 3.12 on."""
    module: Any = threading
    start = module._start_new_thread

    def audited_start(*args: Any) -> Any:
        sys.audit("_thread.start_new_thread", *args)
        return start(*args)

    module._start_new_thread = audited_start


def _judge(event: str, args: tuple[Any, ...]) -> None:
    """Raise `ForbiddenInWorkflow`, unless the call belongs to the code or to machinery."""
    if event in _READING and _belongs_to_the_code(*args):
        return
    frames = list(frames_of_the_workflow(sys._getframe(2)))
    if any(_is_machinery(frame) for frame in frames):
        return
    name = _called(frames) or event.removeprefix("builtins.")
    note_refusal(asyncio._get_running_loop(), name, frames)
    raise ForbiddenInWorkflow(refusal(_REFUSED[event], name))


def note_refusal(loop: Any, name: str, frames: Iterable[FrameType]) -> None:
    """Note what is refused, and the line of the user's, in case some `except` swallows it."""
    if not loop.dead:
        loop.owner.mistakes.refused(name, next((f for f in frames if not _is_library(f)), None))


def _belongs_to_the_code(path: object, mode: object = None, flags: int = 0, *_: object) -> bool:
    """Whether the call only reads a file or folder that was installed together with the code."""
    if isinstance(path, int):  # open already; `subprocess` does it to its pipes
        return True
    if not isinstance(path, str | bytes) or flags & _WRITING:
        return False
    if isinstance(mode, str) and not _WRITES.isdisjoint(mode):
        return False
    zones = getattr(sys.modules.get("zoneinfo"), "TZPATH", ())
    return os.fsdecode(path).startswith((*_library(), *zones))


def frames_of_the_workflow(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from the call outwards, up to the core that runs the workflow."""
    while frame is not None and module_of(frame) not in _CORE:
        yield frame
        frame = frame.f_back


def _is_machinery(frame: FrameType) -> bool:
    module = module_of(frame)
    top = module.partition(".")[0]
    if top in _MACHINERY:  # a user's own module may have such a name
        return _is_library(frame)
    return top in _FOREIGN_MACHINERY or module in _CODECS or frame.f_code.co_name == "__del__"


def _called(frames: list[FrameType]) -> str:
    """The name of the library function that the user's code called; empty if it has no frame."""
    called: FrameType | None = None
    for frame in frames:
        if not _is_library(frame):
            break
        called = frame
    else:
        return ""  # the workflow is in a library itself
    if called is None:
        return ""
    public = [part for part in module_of(called).split(".") if not part.startswith("_")]
    name = ".".join([*public, called.f_code.co_qualname])
    return name.removesuffix(".__init__").removesuffix(".__call__")


def module_of(frame: FrameType) -> str:
    """The name of the module that a frame's code is in."""
    return str(frame.f_globals.get("__name__"))


def _is_library(frame: FrameType) -> bool:
    return is_installed(frame.f_code.co_filename)


def is_installed(filename: str) -> bool:
    """Whether this is a file of the standard library, or of an installed package."""
    return filename.startswith(("<frozen", *_library()))


@functools.cache
def _library() -> tuple[str, ...]:
    """The folders of the standard library and of installed packages, and this file."""
    import site  # noqa: PLC0415 - these take long, and `import rewake` needs neither
    import sysconfig  # noqa: PLC0415

    paths = sysconfig.get_paths()
    found = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {str(Path(os.__file__).parent), *site.getsitepackages()}
    return (__file__, *sorted(f"{folder}{os.sep}" for folder in found))
