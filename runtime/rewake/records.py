"""The vocabulary: what is written down about a run, as small typed structs.

Everything here is data. Times are whole milliseconds since the Unix epoch (`Millis`). A stored run
is one `Header`, which decides, and beside it `Chunk`s (older entries of its history) and
`Operation`s. `encoded`, `sent`, `streamed`, `kin` and `ledger` have the rest, `stores.keys` where
all of it is.

The *history* of a run is its entries in order. Entries are of two kinds. A *command* says what the
workflow asked for (`Scheduled`, `Withdrawn`, `Finished`). An *event* says what it then observed
(`Started`, `Completed`, `Stepped`, `Fired`, `Signalled`, `CancelRequested`), or that its waits move
(`Retried`, `Forked`, `ClockSetBack`), and when: by the machine's clock, which may be set back.
Between two events the workflow sees nothing new and time stands still; that is all that replay
rests on. Log lines of the workflow's own body (`Logged`) are kept among its commands, and replay
does not compare them, nor what it emitted in a part that was cut off (`Emitted`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from rewake.encoded import Failure as Failure
from rewake.encoded import Outcome as Outcome
from rewake.encoded import Value as Value
from rewake.keyed import State
from rewake.kin import Asked, OtherRun, Parent, Watcher
from rewake.kinds import DueMeans, Kind, OutcomeKind
from rewake.ledger import LATEST as LATEST
from rewake.ledger import LedgerItem
from rewake.ledger import Millis as Millis
from rewake.limited import FREE, Admission, Line, Terms
from rewake.noted import BlockEnded as BlockEnded
from rewake.noted import Cause, Forked, LapBegun, LapState, Origin, Try
from rewake.noted import Retried as Retried
from rewake.noted import Stepped as Stepped
from rewake.sent import Signal as Signal
from rewake.states import RunState
from rewake.streamed import LogBatch, LogLine, StreamBatch

_FIRED, _EXPIRED = Outcome(OutcomeKind.OK), Outcome(OutcomeKind.TIMEOUT)

# --- history -----------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="started"):
    """Event: the run began, with these arguments, now; `scheduled` for a time of its schedule."""

    clock: Millis
    args: Value
    by: str = ""
    """Who started it (`rewake.access`); empty: nobody who had to say."""
    round: int = 0
    """The round that began here: a retry had cut off all that followed, or a lap had ended."""
    lap: LapBegun = LapBegun()
    """The lap that begins here."""
    scheduled: Millis | None = None
    labels: dict[str, str] = {}
    """The labels of the run, as it began."""


class StartedAnew(Started, frozen=True, array_like=True, omit_defaults=True, tag="anew"):
    """Event: the body had failed, and begins anew, as `@workflow(retries=)` says.

    It is a type of its own, so that other starts take no room for it.
    """

    failure: Failure | None = None
    """What it failed with; its `attempts` is how often it has."""
    begins: Millis = 0
    """When the body begins: until then it waits."""


class Scheduled(Asked, frozen=True, array_like=True, omit_defaults=True, tag="scheduled"):
    """Command: the workflow asked for a durable operation.

    `name` is the function (or the timer's kind), `digest` the digest of a task's arguments; replay
    compares kind, name and digest. `args` holds the arguments, with which a lost message is sent
    again, and `due` is a timer's moment or an approval's deadline: both stand as recorded. `round`
    is that of its outcome: how often the run had been retried.
    """

    key: str
    kind: Kind
    name: str
    digest: str
    args: Value | None = None
    due: Millis | None = None
    round: int = 0

    def message(self, run: str, **hints: Any) -> Invocation:
        """The message that asks for this task to be carried out."""
        hints |= {"kind": self.kind, "about": self.about} if self.about else {}
        hints |= {} if self.terms is FREE else {"terms": self.terms}
        key, name, args = self.key, self.name, self.args
        return Invocation(run, key, name, args, round=self.round, tag=self.tag, **hints)


class ScheduledRun(Scheduled, frozen=True, array_like=True, omit_defaults=True, tag="run"):
    """The same about another run."""

    other: OtherRun | None = None

    @property
    def about(self) -> OtherRun | None:
        return self.other


class ScheduledFor(Scheduled, frozen=True, array_like=True, omit_defaults=True, tag="for"):
    """The same for servers of a tag, or on terms: a type of its own, so no other has these."""

    servers: str = ""
    under: Terms | None = None

    @property
    def tag(self) -> str:
        return self.servers

    @property
    def terms(self) -> Terms:
        return self.under or FREE


class Withdrawn(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="withdrawn"):
    """Command: the workflow cancelled an operation that it had asked for, in this round.

    `once`: it is a step that runs at most once. `why`: what whoever waits for it is told. `held`: a
    run that is asked to cancel with it.
    """

    key: str
    kind: Kind
    round: int = 0
    once: bool = False
    why: str = ""
    held: str = ""


class Logged(msgspec.Struct, frozen=True, array_like=True, tag="logged"):
    """The lines that the workflow's body logged after an event; one commit keeps both, once."""

    lines: list[LogLine]


class Emitted(msgspec.Struct, frozen=True, array_like=True, tag="emitted"):
    """An item that the body emitted in what a retry has cut off: it was told, and stays told."""

    key: str
    at: Millis
    value: Value
    round: int


class Finished(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="finished"):
    """Command: the workflow ended; with a `cause` where it failed. Always the last entry."""

    outcome: Outcome
    cause: Cause | None = None


class Completed(msgspec.Struct, frozen=True, array_like=True, tag="completed"):
    """Event: a task's or an approval's outcome was observed. The outcome is in its item."""

    key: str
    clock: Millis


class Fired(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="fired"):
    """Event: a timer's due time had passed, or another's that ends so, or a step's for a try."""

    key: str
    clock: Millis
    kind: Kind = Kind.TIMER

    @property
    def outcome(self) -> Outcome:
        """What it came to: a wait is over without what it waited for, and all else has worked."""
        return _EXPIRED if self.kind.traits.due is DueMeans.EXPIRY else _FIRED


class Signalled(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="signalled"):
    """Event: a wait got the signal of this id, which says `value`. It is what has consumed it."""

    key: str
    clock: Millis
    signal: str
    value: Value
    kind: Kind = Kind.SIGNAL

    @property
    def outcome(self) -> Outcome:
        """What the wait came to, if the value is whole."""
        return Outcome(OutcomeKind.OK, self.value)


class CancelRequested(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Event: the run was asked to cancel."""

    clock: Millis
    reason: str
    number: int = 1
    """How many requests there were; those that were not observed before are one with it."""


class ClockSetBack(msgspec.Struct, frozen=True, array_like=True, tag="clock"):
    """Event: the machine's clock was found behind the newest event. Open waits move back with it.

    Deadlines of approvals and moments that the workflow named are times of day, and stay.
    """

    clock: Millis


Command = Scheduled | ScheduledFor | ScheduledRun | Withdrawn | Logged | Emitted | Finished
Observed = Started | StartedAnew | Completed | Stepped | BlockEnded | Fired | Signalled
Event = Observed | CancelRequested | ClockSetBack | Retried | Forked
Entry = Command | Event


# --- stored items ------------------------------------------------------------------------------


class Header(msgspec.Struct, omit_defaults=True):
    """The one item that decides about a run: what it is, who holds it, and its history.

    It has at most 1 KiB with its key, but for what is added between two commits: `cancel`,
    `lost_turn` and the `error` of a turn that is given up. `epoch` and `count` fence every commit.
    """

    run: str
    workflow: str
    """The run's id, and the name of its workflow."""
    created: Millis
    """When it was started."""
    seed: int
    """The seed of its randomness and its ids."""
    runtime: int
    """The version of the replay core's behaviour that it keeps."""
    state: RunState = RunState.READY
    """Where it stands; `rewake.states` has every move."""
    epoch: int = 0
    """How often it was claimed: rises with each claim."""
    owner: str = ""
    """The claim that holds it, by a name that no other claim has; empty: nobody holds it."""
    lease: Millis = 0
    """Until when its holder has it, if it has a lease of its own."""
    process: str = ""
    """The process whose lease it is held by; empty: it has its own. See `stores/processes.py`."""
    over: Millis = 0
    """When its lease was found to be over, if it has not been renewed since."""
    count: int = 0
    """How many entries its history has."""
    mark: str = ""
    """The mark of the last commit, by which its writer recognises it."""
    arrivals: int = 0
    """How many deliveries there were so far."""
    gap: int = 0
    """How many more arrivals make waking it useful; at or below zero: wake it."""
    spared: int = 0
    """Minus how many of these may be failures; at zero, a failure makes waking it useful."""
    needs: int = 0
    """How many outcomes it waited for as it was parked, if more than one."""
    due: Millis | None = None
    """The earliest moment at which a sweep must check it; None: never."""
    wake: Millis | None = None
    """When its next timer or deadline is due; before its first turn: when it begins."""
    sent: Millis | None = None
    """The `wake` for which a message was sent ahead, which its transport keeps until then."""
    check_at: Millis | None = None
    """When a sweep must check its tasks."""
    written: Millis = 0
    """When these moments were set, by the clock of who set them. See `rewake.stores.set_back`."""
    cancel: str | None = None
    """The reason for which it was asked to cancel, the newest one."""
    cancels: int = 0
    """How many requests to cancel there were."""
    deaths: int = 0
    """How many processes in a row seemed to die under it, since the last progress."""
    strikes: int = 0
    """Those of them in which it was the only suspect."""
    apart: bool = False
    """Whether its holder began it apart from other suspects, and still keeps it so."""
    round: int = 0
    """How often its history was begun anew: by a retry after it had failed, or by a new lap."""
    lap: LapState = LapState()
    """The lap in which it is, and what is left of earlier ones. See `stores/laps.py`."""
    newer: bool = False
    """Whether it failed, and a newer run of its idempotency key is begun: it stays as it is."""
    schedule: str = ""
    tells: bool = False
    """The schedule that has started it, if any; whether somebody is to be told of its state."""
    hold: bool = False
    """Whether somebody holds it, so that it is not removed."""
    tenant: str = ""
    admission: Admission | None = None
    """Whose run it is, if anybody's; how far it is let in, if it is limited."""
    status: Value | None = None
    """Its status and progress, as its body has shown them."""
    labels: dict[str, str] | None = None
    """Its labels; None: it never had any. See `stores/labelled.py`."""
    was: RunState | None = None
    """How a removed one ended."""
    floor: int = 0
    """Of the first run of a key, if removed: the first generation that may be there."""
    erased: bool = False
    """Whether it was removed by who erased it: nothing of it stays in the archive either."""
    taken: str = ""
    """The claim that it was last taken from, which seemed dead."""
    where: str = ""
    """The process of the newest claim, as `host:pid`."""
    rest: int = 0
    """The newest epoch whose turn left no attempt at a step without a record."""
    lost_turn: Try | None = None
    """The turn that was lost before this one, by its epoch, until the run is parked again."""
    clock: Millis = 0
    """The moment of the newest event that it has observed."""
    changed: Millis = 0
    """When it last got stuck, was paused, resumed or ended from outside: no event tells of it."""
    parent: Parent | None = None
    depth: int = 0
    watched: bool = False
    """What run has begun it, how deep it is, and whether others wait: `stores/families.py`."""
    answer: str = ""
    """The name of what it answered its caller; empty: nothing yet. The first stands for ever."""
    pause: bool = False
    """Whether its holder is asked to pause it, as soon as no step of it runs."""
    killed: bool = False
    """Whether it was killed: it is cancelled, and its cleanup did not run."""
    origin: Origin | None = None
    """The run that it was made of, if it is a fork, or started anew."""
    digest: str = ""
    """The digest of its arguments."""
    digest_key: str = ""
    """What its digests are keyed with, sealed (`values/run_codec.py`); empty: they are not."""
    key: str = ""
    """The idempotency key that it was started with."""
    asks: bool = False
    """Whether an approval may be open: else nobody need look for one in its history."""
    signals: int = 0
    """How many signals have arrived; one that was sent again may be counted again."""
    hears: str = ""
    """While it is parked: the name of the signals that wake it, `*` for any, empty for none."""
    wide: int = 0
    """Whether some of its items lie in other partitions, and which. See `stores/layout.py`."""
    joins: int = 0
    """The number of the newest opening or closing of its join items. See `stores/joins.py`."""
    writes: int = 0
    reads: int = 0
    puts: int = 0
    gets: int = 0
    sends: int = 0
    """What it has used, where that is billed: `stores/bills.py` says of what."""
    base: str = ""
    """The sort key of the newest chunk; empty: there is none."""
    tail: list[Entry] = []
    """The entries after those of the chunks."""
    error: str = ""
    """Why it is stuck or failed; else why its last claim was lost, or it was put back, if known."""


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Older entries of one run. `previous` is the sort key of the chunk before it, or empty."""

    previous: str
    entries: list[Entry]


class Operation(msgspec.Struct, omit_defaults=True):
    """A task or an approval: who holds it, how often it was tried, how it ended.

    A step has such an item only for its attempts that are not in the history
    (`engine/turns/interrupted.py`).
    """

    run: str
    """The id of its run."""
    key: str
    """Where in the workflow it was asked for."""
    kind: Kind
    """The kind of the operation."""
    name: str = ""
    """The task's function, or what the approval is called."""
    round: int = 0
    """The round that its outcome is of. To a later round it counts as if it were not there."""
    attempts: int = 0
    """How often it was claimed in this round, without the claims that were released."""
    before: int = 0
    """The same of all rounds before."""
    number: int = 0
    """The number of the newest attempt: it counts every claim, and is never given back."""
    began: Millis | None = None
    """When the newest attempt began."""
    where: str = ""
    """The process of the newest attempt."""
    tries: list[Try] = []
    """The newest attempts that are over without an outcome."""
    lost: int = 0
    """Attempts whose lease ran out without an outcome; these use up no retry."""
    deaths: int = 0
    strikes: int = 0
    apart: bool = False
    taken: str = ""
    """As those of a header."""
    owner: str = ""
    """The claim that holds it, by a name that no other claim has; empty: nobody holds it."""
    lease: Millis = 0
    """Until when its holder has it by a lease of its own; a callback: may be silent."""
    process: str = ""
    """The process whose lease it is held by; empty: it has its own. See `stores/processes.py`."""
    over: Millis = 0
    """When its lease was found to be over, if it has not been renewed since."""
    not_before: Millis | None = None
    """The earliest moment of the next attempt (a backoff)."""
    due: Millis | None = None
    """When a sweep must check it; None: its run's header covers it."""
    tag: str = ""
    """Whose sweep that is: that of servers of this tag. Empty, and once it has an outcome: any."""
    written: Millis = 0
    """When these moments were set, by the clock of who set them. See `rewake.stores.set_back`."""
    first: Millis | None = None
    """When the first attempt began."""
    args: Value | None = None
    """Its arguments, once it waits for another attempt: they ask for it without the history."""
    failure: Failure | None = None
    """The newest failed attempt."""
    progress: Value | None = None
    """What its attempts have told last, for the next one (`stores/attempts.py`)."""
    silent: int = 0
    """How many attempts in a row fell silent, and came no further than the one before."""
    covered: bool = False
    """Whether the run that it is about tells of its end, so that nobody need look after it."""
    outcome: Outcome | None = None
    """How it ended; once it is there, it stands."""
    at: Millis | None = None
    """When the outcome was settled."""
    mark: str = ""
    """The mark of the write that settled it, or of the newest vote."""
    votes: list[Value] = []
    """Of an approval: what was said so far, in order. See `stores/votes.py`."""
    terms: Terms = FREE
    reserved: int = 0
    line: Line | None = None
    """Of a task, once it waits: its limits, the attempt whose moments are reserved, its place."""


Item = Header | Chunk | Operation | Signal | State | LogBatch | StreamBatch | Watcher | LedgerItem


class Invocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message: there may be work for this run, or for this operation of it.

    It is only a hint: it may be lost, repeated, late or early, and the stored state decides. `key`
    is empty for the run itself. `not_before` asks for delivery at that moment, not earlier. `sole`:
    any one outcome wakes the run, which saves a write if it still holds; `joined`: a join item may
    count it; `spared`: a failure may not wake it. `args`: None if too large; the history has them.
    `about`: what another run is asked, by an operation of that `kind`.
    """

    run: str
    key: str = ""
    name: str = ""
    args: Value | None = None
    not_before: Millis | None = None
    sole: bool = False
    round: int = 0
    tag: str = ""
    joined: bool = False
    spared: bool = False
    kind: Kind = Kind.TASK
    about: OtherRun | None = None
    terms: Terms = FREE
