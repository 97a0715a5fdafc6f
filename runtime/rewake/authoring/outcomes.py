"""What came of many branches, and when they have done enough: the policies of `parallel`.

A group of branches *ends* when all of its items have, or when enough have succeeded. It *fails* as
soon as it cannot end well any more: when more have failed than it bears. Both are decided in the
order in which branches end, which is recorded, so a replay decides the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import floor, isfinite
from typing import Generic, Literal, TypeVar, cast, get_args, overload

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

State = Literal["ok", "failed", "cancelled", "skipped"]
"""How a branch ended: `cancelled` was under way and was stopped, `skipped` was never begun."""
Reason = Literal["completed", "min_successful"]
"""Why a group ended: all of its items did, or enough of them succeeded."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R_co]):
    """What came of one item of a `parallel`.

    `index` is the item's place, from 0. `state` is `ok`, `failed`, `cancelled` (it was under way
    as the group ended, or was cancelled by the program) or `skipped` (it was never begun).
    `result` is what its branch returned, and `error` what it raised; each is None without one.
    """

    index: int
    state: State
    result: R_co | None = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether its branch returned a result."""
        return self.state == "ok"


@dataclass(frozen=True, slots=True, repr=False)
class Outcomes(Sequence[Outcome[R_co]]):
    """The outcomes of a `parallel`, in the order of its items: a sequence of `Outcome`.

        done = await parallel(orders, ship, tolerate=0.1)
        print(done.counts["failed"], "of", len(done), "failed")

    `reason` says why the group ended: `completed` (every item did), or `min_successful` (enough of
    them succeeded, and the others were cancelled or skipped).
    """

    items: tuple[Outcome[R_co], ...]
    reason: Reason
    first: BaseException | None = field(default=None, compare=False)
    """The error that came first."""

    @overload
    def __getitem__(self, index: int) -> Outcome[R_co]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Outcome[R_co]]: ...
    def __getitem__(self, index: int | slice) -> Outcome[R_co] | Sequence[Outcome[R_co]]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Outcome[R_co]]:
        return iter(self.items)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        return f"<Outcomes: {counts or 'none'}; {self.reason}>"

    @property
    def results(self) -> list[R_co]:
        """The results of those that succeeded, in item order."""
        return [cast("R_co", each.result) for each in self.items if each.ok]

    @property
    def errors(self) -> list[BaseException]:
        """The errors of those that failed, in item order."""
        return [each.error for each in self.items if each.state == "failed" and each.error]

    @property
    def counts(self) -> dict[State, int]:
        """How many there are of each state, also of those of which there are none."""
        counts: dict[State, int] = dict.fromkeys(get_args(State), 0)
        for each in self.items:
            counts[each.state] += 1
        return counts

    def raise_first(self) -> None:
        """Raise the error of the branch that failed first; do nothing if none did."""
        if self.first is not None:
            raise self.first


@dataclass(frozen=True, slots=True)
class Completion:
    """When a group of so many branches has done enough, and what it bears.

    `enough`: so many successes end it; None: all have to end. `bears`: so many may fail.
    """

    enough: int | None
    bears: int

    @classmethod
    def of(
        cls,
        count: int,
        min_successful: int | None,
        tolerate: float | None,
        *,
        outcomes: bool,
    ) -> Completion | None:
        """What these options of `parallel` ask for, of so many items; None: of the plain one.

        Raises `ValueError` for an option out of range, `TypeError` for one of another type.
        """
        if min_successful is None and tolerate is None:
            return cls(None, count) if outcomes else None
        bears = count if tolerate is None else _borne(count, tolerate)
        if min_successful is None:
            return cls(None, bears)
        check_count("min_successful", min_successful, at_least=1)
        if min_successful > count:
            raise ValueError(f"min_successful is {min_successful}, and there are {count} items")
        return cls(min_successful, min(bears, count - min_successful))


PLAIN = Completion(None, 0)
"""Every branch has to succeed."""


def _borne(count: int, tolerate: float) -> int:
    """How many of so many branches may fail."""
    given: object = tolerate
    if not isinstance(given, float):
        check_count("tolerate", tolerate, at_least=0)
        return int(tolerate)
    if not (isfinite(tolerate) and 0 <= tolerate <= 1):
        raise ValueError(f"tolerate as a share is between 0.0 and 1.0, not {tolerate}")
    return floor(tolerate * count + 1e-9)  # 0.29 * 100 is 28.999999999999996


def check_count(name: str, value: object, *, at_least: int) -> None:
    """Raise `TypeError` for what is no whole number, `ValueError` for one that is too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        share = ", or a share as a float" if name == "tolerate" else ""
        raise TypeError(f"{name} is a whole number{share}, not {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be {at_least} or more")
