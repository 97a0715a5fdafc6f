"""The clients for threads, made of those for event loops: `python -m tests.client.mirror`.

What an asynchronous client does, the one for threads does without `await`, and with another clock
and transport: so it is written once, and `test_mirror.py` says when this is to be run again. It is
text that is made, and not classes as the program runs, for types and docstrings are read from it by
people and their tools.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import rewake.client

HERE = Path(rewake.client.__file__).parent

_WORDS: Mapping[str, str] = {
    r"a client for programs that run an event loop\.": (
        "a client for threads. It is made of `AsyncClient` by `make mirror`: change that."
    ),
    r"(Asks a Rewake server), in one event loop; to be closed, as by `async with`\.": (
        r"\1; any number of threads may use one. To be closed, as by `with`."
    ),
    r"await (joined\.\w+\(.*\))$": r"joined.at_once(\1)",
    r"await asyncio\.sleep\(": "time.sleep(",
    r"lambda: asyncio\.get_running_loop\(\)\.time\(\)": "time.monotonic",
    r"^import asyncio$": "import time",
    r"\bawait ": "",
    r"\basync (def|for|with)\b": r"\1",
    r"\bfor item in (.*):\n +yield item$": r"yield from \1",
    r"__a(enter|exit)__": r"__\1__",
    r"^from rewake\.client\.transports import AiohttpTransport, AsyncTransport$": (
        "from rewake.client.blocking import BlockingTransport\n"
        "from rewake.client.transports import Transport"
    ),
    r"\bAiohttpTransport\b": "BlockingTransport",
    r"\bAsync(\w+)": r"\1",
}
"""What is other in a program without an event loop, in this order."""
_PAIR = re.compile(r"^class Async(\w+)\b.*?(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def mirrored(text: str) -> str:
    """The same program for threads."""
    for pattern, other in _WORDS.items():
        text = re.sub(pattern, other, text, flags=re.MULTILINE)
    return text


def with_pairs(text: str) -> str:
    """A module that has classes of both kinds, with those for threads made anew."""
    for pair in _PAIR.finditer(text):
        twin = rf"^class {pair[1]}\b.*?(?=^\S|\Z)"
        old = re.search(twin, text, re.MULTILINE | re.DOTALL)
        assert old is not None, pair[1]
        text = text[: old.start()] + mirrored(pair[0]) + text[old.end() :]
    return text


def tidy(text: str) -> str:
    """The text as `make format` leaves it."""
    ruff, name = str(Path(sys.executable).with_name("ruff")), str(HERE / "made.py")
    for command in ("check --fix-only --quiet --select I", "format --quiet"):
        asked = [ruff, *command.split(), "--stdin-filename", name, "-"]
        done = subprocess.run(asked, input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text


def made() -> Mapping[Path, str]:
    """What is made, by its file."""
    found = {HERE / "blocking_client.py": mirrored((HERE / "async_client.py").read_text())}
    for name in ("schedules.py", "states.py"):
        found[HERE / name] = with_pairs((HERE / name).read_text())
    return {path: tidy(text) for path, text in found.items()}


if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
