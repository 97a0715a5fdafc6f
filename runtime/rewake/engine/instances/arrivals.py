"""What has arrived for one instance of a run: which operations to read, instead of all open ones.

Each delivery raises the arrival counter of its run, and the write that does so says to what. So a
process that delivers an outcome knows the number of that arrival. A turn that has read up to one
number, and is to read up to another, reads just the operations of the numbers between, if this
process has heard of each; else it reads every open operation. A run with n open branches then costs
one read an arrival, not n. Which operation arrived under a number never changes, so what was heard
is never wrong, at most incomplete: another process delivered, or a write was repeated.

An outcome whose deliverer died before it arrived has no number. Who looks after open tasks finds
it, and makes the next turn read everything: by a number of which nobody has heard (the sweeper, for
the turn may be one of any process), or by `forget` (a turn that is under way).
"""

from __future__ import annotations

from collections.abc import Mapping

from rewake.records import Operation


class Arrivals:
    """What one instance has read of its arrivals, and what this process has heard of since."""

    __slots__ = ("_found", "_keys", "_read")

    def __init__(self) -> None:
        self._read = -1
        self._keys: dict[int, str] = {}
        self._found: dict[str, Operation] = {}

    def hear(self, number: int, key: str) -> None:
        """Note which operation arrived under this number."""
        if number > self._read:
            self._keys[number] = key

    def adopt(self, kept: Arrivals) -> None:
        """Go on from what the suspended instance had read, and what was heard meanwhile."""
        self._read = kept._read
        self._keys.update(kept._keys)

    def followed(self, number: int | None) -> None:
        """Note up to which number another instance had read when it was suspended, if known."""
        if number is None:
            self._read = -1
        elif number > self._read:
            self.read(number)

    def replayed(self, number: int, operations: Mapping[str, Operation]) -> None:
        """Note that a replay has read all operations, after the counter stood at `number`."""
        self._found = {key: o for key, o in operations.items() if o.outcome is not None}
        self.read(number)

    def forget(self) -> None:
        """Note that there is an outcome that never arrived: only reading everything finds it."""
        self._read = -1

    def found(self) -> dict[str, Operation]:
        """The operations with an outcome that a replay has read, once."""
        found = self._found
        if found:
            self._found = {}
        return found

    def since(self, number: int) -> list[str] | None:
        """The keys that arrived since the last read, up to `number`; None if some are unknown."""
        if self._read < 0:
            return None
        keys = [self._keys.get(each, "") for each in range(self._read + 1, number + 1)]
        return keys if all(keys) else None

    def heard(self, number: int) -> list[str]:
        """The keys that arrived since the last read, up to `number`, as far as they are known."""
        return [key for each, key in self._keys.items() if each <= number]

    def heard_to(self, number: int) -> int:
        """Up to which number, from `number` on, this process has heard of each arrival."""
        while number + 1 in self._keys:
            number += 1
        return number

    def read(self, number: int) -> None:
        """Note that everything that arrived up to `number` was read."""
        self._read = number
        if self._keys:
            self._keys = {each: key for each, key in self._keys.items() if each > number}
