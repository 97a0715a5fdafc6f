"""Tags: which servers carry a task out.

`@task(tag="gpu")` is for the servers of that tag. A task without one is untagged, and so is
everything else that a run needs: its body, its steps, its timers. A server serves untagged work,
some tags, or both; `default` names untagged work where tags are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

UNTAGGED = ""
"""The tag of what has none."""
DEFAULT = "default"
"""What untagged work is called in a list of tags."""
LONGEST = 32
_TAG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def checked_tag(tag: str) -> str:
    """The tag of a task, if it can be one. Raises `ValueError`."""
    if len(tag) > LONGEST or not _TAG.fullmatch(tag):
        told = f"a tag is up to {LONGEST} of a-z, 0-9 and single hyphens in between"
        raise ValueError(f"{told}, not {tag!r}"[:200])
    if tag == DEFAULT:
        raise ValueError(f"{DEFAULT!r} stands for tasks without a tag: leave it out")
    return tag


@dataclass(frozen=True, slots=True)
class Served:
    """What one process serves: tasks of these tags, and perhaps untagged work.

    `every`: tasks of any tag, as a process does that is alone with its runs.
    """

    tags: frozenset[str] = frozenset()
    untagged: bool = True
    every: bool = False

    def __contains__(self, tag: str) -> bool:
        """Whether it serves tasks of this tag; of none: whether it serves untagged work."""
        if tag == UNTAGGED:
            return self.untagged
        return self.every or tag in self.tags

    def __str__(self) -> str:
        """For people, as it is written in a list of tags."""
        return ",".join([DEFAULT] * self.untagged + sorted(self.tags))


EVERY = Served(every=True)
"""What a process serves that is alone with its runs."""


def served(names: Iterable[str]) -> Served:
    """What a server serves that is started with these tags. Raises `ValueError`."""
    given = list(dict.fromkeys(names))
    if not given:
        raise ValueError(f"no tag is given: {DEFAULT} is for tasks without one")
    tags = frozenset(checked_tag(name) for name in given if name != DEFAULT)
    return Served(tags, untagged=DEFAULT in given)
