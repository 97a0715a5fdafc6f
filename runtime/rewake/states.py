"""The states of a run, and every move between them.

                 start              claim              finish
      (no run) ────────> READY ───────────────> RUNNING ──────> DONE, FAILED or CANCELLED
                          ^ ^                   ^ │ │ │
                          │ └────── release ────┼─┘ │ └─ stick ──> STUCK ── cancel ──> CANCELLED
                          │          claim, or  │   │                │
                          │   deliver and claim │   │ park           │
                          │                     │   v                │
                          │                   PARKED                 │
                          └──────────────────── resume ──────────────┘

    READY, RUNNING, PARKED or STUCK ── kill ──> CANCELLED
    FAILED ── retry ──> READY
    DONE, FAILED or CANCELLED ── remove ──> REMOVED

A start may also create a run that is `RUNNING`, under the lease of the process that starts it. A
`RUNNING` run whose holder's lease is over is claimed by another (`TAKE_OVER`). A delivery, or a
request to cancel, leaves a live run in its state: its next holder observes it.

`MOVES` is the whole machine. The store takes its conditions and what it writes from there, and the
simulation checks every change of every header against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rewake.kinds import OutcomeKind


class RunState(StrEnum):
    """The state of a run. `parked` is what users call suspended; `stuck` needs a person.

    Of one that is `removed` nothing is left but a stone in its place, which nobody is shown.
    """

    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STUCK = "stuck"
    REMOVED = "removed"

    @property
    def said(self) -> str:
        """What users call it."""
        return "suspended" if self is RunState.PARKED else self.value


LIVE = (RunState.READY, RunState.RUNNING, RunState.PARKED)
"""States in which a run goes on by itself."""

ENDED = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
"""States in which a run has ended and is there. (A stuck run has not ended.)"""

TERMINAL = frozenset({*ENDED, RunState.REMOVED})
"""States in which a run does not go on by itself. (A failed one can be retried.)"""

SHOWN = (*LIVE, *ENDED, RunState.STUCK)
"""The states that people are shown."""

END_OF: Mapping[OutcomeKind, RunState] = {
    OutcomeKind.OK: RunState.DONE,
    OutcomeKind.ERROR: RunState.FAILED,
    OutcomeKind.TIMEOUT: RunState.FAILED,
    OutcomeKind.CANCELLED: RunState.CANCELLED,
}
"""The state in which an outcome leaves a run."""


class Move(StrEnum):
    """A change to a run, made by one conditional write of its header."""

    CLAIM = "claim"
    TAKE_OVER = "take_over"
    CONTINUE = "continue"
    COMMIT = "commit"
    PARK = "park"
    FINISH = "finish"
    STICK = "stick"
    RELEASE = "release"
    RESUME = "resume"
    ARRIVE = "arrive"
    CANCEL = "cancel"
    CANCEL_STUCK = "cancel_stuck"
    KILL = "kill"
    RETRY = "retry"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Path:
    """The states in which a move may begin and end; without targets, a run keeps its state."""

    sources: tuple[RunState, ...]
    targets: tuple[RunState, ...] = ()

    @property
    def target(self) -> RunState:
        """The state in which the move ends, for a move with only one."""
        (target,) = self.targets
        return target


MOVES: Mapping[Move, Path] = {
    Move.CLAIM: Path((RunState.READY, RunState.PARKED), (RunState.RUNNING,)),
    Move.TAKE_OVER: Path((RunState.RUNNING,), (RunState.RUNNING,)),
    Move.CONTINUE: Path((RunState.PARKED,), (RunState.RUNNING,)),
    Move.COMMIT: Path((RunState.RUNNING,), (RunState.RUNNING,)),
    Move.PARK: Path((RunState.RUNNING,), (RunState.PARKED,)),
    Move.FINISH: Path((RunState.RUNNING,), tuple(dict.fromkeys(END_OF.values()))),
    Move.STICK: Path((RunState.RUNNING,), (RunState.STUCK,)),
    Move.RELEASE: Path((RunState.RUNNING,), (RunState.READY,)),
    Move.RESUME: Path((RunState.STUCK,), (RunState.READY,)),
    Move.ARRIVE: Path(LIVE),
    Move.CANCEL: Path(LIVE),
    Move.CANCEL_STUCK: Path((RunState.STUCK,), (RunState.CANCELLED,)),
    Move.KILL: Path((*LIVE, RunState.STUCK), (RunState.CANCELLED,)),
    Move.RETRY: Path((RunState.FAILED,), (RunState.READY,)),
    Move.REMOVE: Path(ENDED, (RunState.REMOVED,)),
}
"""Every move. (A start is not a move: it creates the header, if there is no such run.)"""


def may_become(before: RunState, after: RunState) -> bool:
    """Whether one move leads from `before` to `after`."""
    return any(
        before in path.sources and after in (path.targets or (before,)) for path in MOVES.values()
    )
