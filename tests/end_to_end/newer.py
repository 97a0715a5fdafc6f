"""The next version of this runtime, made of this one: what it writes is unknown to this one.

A copy of the package with `PATCHES`. Whatever may be new in a version is in there once: a higher
`RUNTIME`, an entry of the history, attributes of items, an item of a type of its own (which is due,
so that others meet it), and a field of messages.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import rewake
from tests.support.server import ServerProcess

_HERE = Path(rewake.__file__).parent

_REMARK = '''
class Remark(msgspec.Struct, frozen=True, array_like=True, tag="remark"):
    """What no version before says."""

    key: str
    text: str


'''

_NOVELTY = '''
class Novelty(msgspec.Struct, omit_defaults=True):
    """An item that no version before has."""

    run: str
    due: Millis | None = None


'''

KEPT = "kept"
"""What the attributes hold that are new."""

_OPERATION = "claim.run, claim.key, Kind.TASK, claim.name, claim.round, first=claim.now"

PATCHES: Sequence[tuple[str, str, str]] = (
    ("engine/program.py", "RUNTIME = 1\n", "RUNTIME = 2\n"),
    ("records.py", "\nclass Emitted(", f"{_REMARK}class Emitted("),
    ("records.py", "Withdrawn | Logged | Emitted", "Withdrawn | Logged | Remark | Emitted"),
    ("records.py", "\nclass Chunk(", f"{_NOVELTY}class Chunk("),
    ("records.py", "Item = Header |", "Item = Novelty | Header |"),
    (
        "records.py",
        '    error: str = ""\n    """Why',
        '    novelty: str = ""\n    error: str = ""\n    """Why',
    ),
    (
        "records.py",
        "    votes: list[Value] = []",
        '    novelty: str = ""\n    votes: list[Value] = []',
    ),
    ("records.py", "    sole: bool = False\n", '    sole: bool = False\n    novelty: str = ""\n'),
    ("records.py", "self.args, sole=sole,", f"self.args, novelty={KEPT!r}, sole=sole,"),
    ("stores/keys.py", '    "H": Header,', '    "Z": Novelty,\n    "H": Header,'),
    ("stores/keys.py", "records import Chunk,", "records import Novelty, Chunk,"),
    ("stores/operations.py", _OPERATION, f"{_OPERATION}, novelty={KEPT!r}"),
    ("stores/protocol.py", "header, [entry], header", 'header, [entry, Remark("", "new")], header'),
    ("stores/protocol.py", '"count": 1, "written"', '"count": 2, "written"'),
    (
        "stores/protocol.py",
        "from rewake.records import (",
        "from rewake.records import (Remark, Novelty,",
    ),
    (
        "stores/protocol.py",
        "            await self._put(view_key(view), view)\n",
        "            await self._put(view_key(view), view)\n"
        "            novelty = Novelty(header.run, self._clock.now())\n"
        '            await self._put(Key(f"R#{header.run}", "Z#1"), novelty)\n',
    ),
    (
        "engine/runs.py",
        "seed=seed, runtime=RUNTIME)",
        f"seed=seed, runtime=RUNTIME, novelty={KEPT!r})",
    ),
    ("engine/runs.py", "History([started], {})", 'History([started, Remark("", "new")], {})'),
    ("engine/runs.py", "    Failure,\n", "    Failure,\n    Remark,\n"),
    (
        "engine/sweeper.py",
        "if item is None or item.due is None:",
        'if item is None or type(item).__name__ == "Novelty" or item.due is None:',
    ),
    (
        "replay/differences.py",
        "isinstance(entry, Logged | Emitted)",
        "isinstance(entry, Logged | Remark | Emitted)",
    ),
    ("replay/differences.py", "    Logged,\n", "    Logged,\n    Remark,\n"),
    (
        "replay/execution.py",
        "Withdrawn, Logged, Emitted, Finished}",
        "Withdrawn, Logged, Remark, Emitted, Finished}",
    ),
    ("replay/execution.py", "    Logged,\n", "    Logged,\n    Remark,\n"),
)
"""What is changed: the file, what it says, and what the next version says there."""


def made(folder: Path) -> Path:
    """Make the next version in `folder`. Returns the root from which it is imported."""
    package = folder / "newer" / "rewake"
    shutil.copytree(_HERE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in PATCHES:
        file = package / name
        text = file.read_text()
        assert text.count(old) == 1, f"{name} says {text.count(old)} times: {old}"
        file.write_text(text.replace(old, new))
    return package.parent


class NewerServer(ServerProcess):
    """A server of the next version, which is imported from `root`."""

    def __init__(self, root: Path, app: Path | str, db: Path, **settings: object) -> None:
        super().__init__(app, db, **settings)
        self.roots = (root, *self.roots[1:])
