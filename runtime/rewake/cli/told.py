"""What a run tells, as lines: for people, or a JSON object each for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rewake.cli.exits import STATES, Exit, harmless, tell
from rewake.errors import UsageError
from rewake.spelled import spelled
from rewake.stores.told import Telling

_STUCK = "stuck"
_WIDTH = 24
"""How wide the column of who says a line is, until one needs more."""
_NAMES = {each.value: each for each in Telling}


class Teller:
    """Prints what a run tells, of the kinds that are wanted, and knows how it stands."""

    def __init__(self, only: str | None = None, *, json: bool = False) -> None:
        """Raises `UsageError`."""
        self._json = json
        self._wanted = list(Telling) if only is None else [_named(each) for each in only.split(",")]
        self._state = ""
        self._width = _WIDTH

    def told(self, views: Sequence[Mapping[str, Any]]) -> None:
        """Print these, in order."""
        for each in views:
            if each["type"] == Telling.STATE:
                self._state = each["state"]
            if each["type"] in self._wanted:
                line = msgspec.json.encode(each).decode() if self._json else self._line(each)
                print(harmless(line), flush=True)

    def _line(self, view: Mapping[str, Any]) -> str:
        who, said = _parts(view)
        self._width = max(self._width, len(who))  # what is printed already cannot be moved
        return f"{view['at'][11:23]}  {who:<{self._width}}  {said}"

    @property
    def stuck(self) -> bool:
        """Whether the run needs a person: nothing more is told then."""
        return self._state == _STUCK

    def exit(self) -> Exit:
        """How a command ends that has followed the run to here."""
        if self.stuck:
            tell("the run is stuck: after a fix, resume it and watch it again")
        return STATES.get(self._state, Exit.PENDING)


def _named(name: str) -> Telling:
    if name not in _NAMES:
        raise UsageError(f"--only is some of {', '.join(_NAMES)}, with commas between them")
    return _NAMES[name]


def _parts(view: Mapping[str, Any]) -> tuple[str, str]:
    """Who says a line, and what."""
    match view["type"]:
        case Telling.ITEM:
            said = msgspec.json.encode(view["value"]).decode()
            who = _attempt(view)
        case Telling.LOG:
            said, who = f"{view['level']} {view['message']}", _attempt(view)
        case Telling.OPERATION:
            said, who = f"{view['kind']} {view['state'].replace('_', ' ')}", spelled(view["key"])
        case _:
            said, who = view["state"], "run"
    error = view.get("error")
    if error is not None:
        said += f": {error['type']}: {error['message']}".partition("\n")[0]
    if view.get("reason"):
        said += f": {view['reason']}"
    return who, said


def _attempt(view: Mapping[str, Any]) -> str:
    """Who has said it: an attempt, or the body."""
    number = view["attempt"]
    return f"{spelled(view['key']) or 'workflow'}{f'#{number}' if number > 1 else ''}"
