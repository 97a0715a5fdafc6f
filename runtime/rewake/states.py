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

    DELAYED ── claim, once its time has come ──> RUNNING
    READY, PARKED or DELAYED ── pause ──> PAUSED ── resume ──> READY, or DELAYED
    RUNNING ── ask to pause ──> RUNNING ── set aside ──> PAUSED
    PAUSED or DELAYED ── cancel ──> READY
    READY, RUNNING, PARKED, DELAYED, PAUSED or STUCK ── kill ──> CANCELLED
    FAILED ── retry ──> READY
    DONE, FAILED or CANCELLED ── remove ──> REMOVED

A start may also create a run that is `RUNNING`, under the lease of the process that starts it, or
one that is `DELAYED`. A `RUNNING` run whose holder's lease is over is claimed by another
(`TAKE_OVER`). A delivery, or a request to cancel, leaves a live run in its state: its next holder
observes it; of a paused one deliveries are kept, and a request to cancel ends the pause. A
signal is kept for a stuck run, too, and so is another run's request to cancel it.

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

    A `delayed` one begins at a moment that its starter named; a `paused` one waits until it is
    resumed.

    Of one that is `removed` nothing is left but a stone in its place, which nobody is shown.
    """

    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    DELAYED = "delayed"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STUCK = "stuck"
    REMOVED = "removed"

    @property
    def said(self) -> str:
        """What users call it."""
        return "suspended" if self is RunState.PARKED else self.value


LIVE = (RunState.READY, RunState.RUNNING, RunState.PARKED, RunState.DELAYED)
"""States in which a run goes on by itself."""

ASLEEP = (RunState.PARKED, RunState.DELAYED)
"""States in which nobody has a run, and a moment wakes it."""

OPEN = (*LIVE, RunState.PAUSED)
"""States in which what arrives for a run is kept, and what it waits for can be decided."""

ENDED = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)
"""States in which a run has ended and is there. (A stuck run has not ended.)"""

TERMINAL = frozenset({*ENDED, RunState.REMOVED})
"""States in which a run does not go on by itself. (A failed one can be retried.)"""

SHOWN = (*OPEN, *ENDED, RunState.STUCK)
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
    PAUSE = "pause"
    ASK_PAUSE = "ask_pause"
    SET_ASIDE = "set_aside"
    WAIT_ON = "wait_on"
    ARRIVE = "arrive"
    SIGNAL = "signal"
    CANCEL = "cancel"
    CANCEL_WAITING = "cancel_waiting"
    CANCEL_STUCK = "cancel_stuck"
    CALL_OFF = "call_off"
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
    Move.CLAIM: Path((RunState.READY, *ASLEEP), (RunState.RUNNING,)),
    Move.TAKE_OVER: Path((RunState.RUNNING,), (RunState.RUNNING,)),
    Move.CONTINUE: Path((RunState.PARKED,), (RunState.RUNNING,)),
    Move.COMMIT: Path((RunState.RUNNING,), (RunState.RUNNING,)),
    Move.PARK: Path((RunState.RUNNING,), (RunState.PARKED,)),
    Move.FINISH: Path((RunState.RUNNING,), tuple(dict.fromkeys(END_OF.values()))),
    Move.STICK: Path((RunState.RUNNING,), (RunState.STUCK,)),
    Move.RELEASE: Path((RunState.RUNNING,), (RunState.READY,)),
    Move.RESUME: Path((RunState.STUCK, RunState.PAUSED), (RunState.READY,)),
    Move.PAUSE: Path((RunState.READY, *ASLEEP), (RunState.PAUSED,)),
    Move.ASK_PAUSE: Path((RunState.RUNNING,)),
    Move.SET_ASIDE: Path((RunState.RUNNING,), (RunState.PAUSED,)),
    Move.WAIT_ON: Path((RunState.PAUSED,), (RunState.DELAYED,)),
    Move.ARRIVE: Path(OPEN),
    Move.SIGNAL: Path((*OPEN, RunState.STUCK)),
    Move.CANCEL: Path((RunState.READY, RunState.RUNNING, RunState.PARKED)),
    Move.CANCEL_WAITING: Path((RunState.PAUSED, RunState.DELAYED), (RunState.READY,)),
    Move.CANCEL_STUCK: Path((RunState.STUCK,), (RunState.CANCELLED,)),
    Move.CALL_OFF: Path((RunState.STUCK,)),
    Move.KILL: Path((*OPEN, RunState.STUCK), (RunState.CANCELLED,)),
    Move.RETRY: Path((RunState.FAILED,), (RunState.READY,)),
    Move.REMOVE: Path(ENDED, (RunState.REMOVED,)),
}
"""Every move. (A start is not a move: it creates the header, if there is no such run.)"""


def may_become(before: RunState, after: RunState) -> bool:
    """Whether one move leads from `before` to `after`."""
    return any(
        before in path.sources and after in (path.targets or (before,)) for path in MOVES.values()
    )
