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
from rewake.stores.keys import TYPES
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

_RECORDS = '__import__("rewake.records").records'
_NEW = f'{_RECORDS}.Remark("", "new")'
_OPERATION = "claim.run, claim.key, Kind.TASK, claim.name, claim.round, first=claim.now"

PATCHES: Sequence[tuple[str, str]] = (
    ("\nRUNTIME = 1\n", "\nRUNTIME = 2\n"),
    # the vocabulary
    ("\nclass Emitted(msgspec", f"{_REMARK}class Emitted(msgspec"),
    (
        "Withdrawn | Logged | Emitted | Finished",
        "Withdrawn | Logged | Remark | Emitted | Finished",
    ),
    ("\nclass Chunk(msgspec", f"{_NOVELTY}class Chunk(msgspec"),
    ("\nItem = Header |", "\nItem = Novelty | Header |"),
    (
        '\n    "H": Header,',
        '\n    "z": __import__("rewake.records").records.Novelty,\n    "H": Header,',
    ),
    (
        '    error: str = ""\n    """Why it is stuck',
        '    novelty: str = ""\n    error: str = ""\n    """Why it is stuck',
    ),
    ("    votes: list[Value] = []", '    novelty: str = ""\n    votes: list[Value] = []'),
    (
        "    sole: bool = False\n    round: int",
        '    sole: bool = False\n    novelty: str = ""\n    round: int',
    ),
    # what is written
    ("Invocation(run, key, name, args, ", f"Invocation(run, key, name, args, novelty={KEPT!r}, "),
    (_OPERATION, f"{_OPERATION}, novelty={KEPT!r}"),
    ("seed=seed, runtime=RUNTIME, ", f"seed=seed, runtime=RUNTIME, novelty={KEPT!r}, "),
    ("History([started], {})", f"History([started, {_NEW}], {{}})"),
    ("(header, [entry], header.mark)", f"(header, [entry, {_NEW}], header.mark)"),
    ('{"count": 1, "written"', '{"count": 2, "written"'),
    (
        "            # First: a view without a run is skipped",
        f"            novelty = {_RECORDS}.Novelty(header.run, header.created)\n"
        '            await self._put(type(header_key(""))(f"R#{header.run}", "z#1"), novelty)\n'
        "            # First: a view without a run is skipped",
    ),
    # what is read
    (
        "not isinstance(entry, Logged | Emitted)]",
        'type(entry).__name__ not in ("Logged", "Remark", "Emitted")]',
    ),
    (
        "not isinstance(entry, Logged | Emitted):",
        'type(entry).__name__ not in ("Logged", "Remark", "Emitted"):',
    ),
    (
        "        if item is None or item.due is None or item.due > shown.due:",
        '        if type(item).__name__ == "Novelty":\n'
        "            return\n"
        "        if item is None or item.due is None or item.due > shown.due:",
    ),
)
"""What is changed: what one file of the package says, and what the next version says there."""


def made(folder: Path) -> Path:
    """Make the next version in `folder`. Returns the root from which it is imported."""
    assert "z" not in TYPES, "the letter of items that are new is one of this version's by now"
    package = folder / "newer" / "rewake"
    shutil.copytree(_HERE, package, ignore=shutil.ignore_patterns("__pycache__"))
    texts = {file: file.read_text() for file in package.rglob("*.py")}
    for old, new in PATCHES:
        places = [file for file, text in texts.items() if old in text]
        assert len(places) == 1, f"said in {[each.name for each in places]}: {old}"
        [file] = places
        assert texts[file].count(old) == 1, f"{file.name} says more than once: {old}"
        texts[file] = texts[file].replace(old, new)
        file.write_text(texts[file])
    return package.parent


class NewerServer(ServerProcess):
    """A server of the next version, which is imported from `root`."""

    def __init__(self, root: Path, app: Path | str, db: Path, **settings: object) -> None:
        super().__init__(app, db, **settings)
        self.roots = (root, *self.roots[1:])
