"""What is stored beside runs: who holds them, who is let in, what they did, and what is numbered.

Where each of these items lives is in `rewake.stores.keys`.
"""

from __future__ import annotations

import msgspec

from rewake.encoded import Value
from rewake.limited import FREE, Terms
from rewake.published import EventItem

Millis = int
"""A moment, in whole milliseconds since the Unix epoch (or a duration in milliseconds)."""

LATEST: Millis = 253_402_300_799_999
"""The end of the year 9999, at which every longer wait ends."""


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """An API token: what it allows, and enough to tell it again. The token itself is kept nowhere.

    Scopes are text: one that a process does not know allows nothing there.
    """

    name: str
    digest: str
    """Of the token's text (`rewake.signing.api_tokens`)."""
    scopes: list[str]
    created: Millis
    by: str
    """Who made it."""
    workflows: list[str] = []
    """The workflows that it is limited to; empty: it is for all."""
    tenant: str = ""
    """Whose runs it is for; empty: everybody's."""
    expires: Millis | None = None
    used: Millis | None = None
    """When it was last used, to the minute."""


class Audited(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the audit log: what somebody did, or was refused."""

    at: Millis
    who: str
    """A principal (`rewake.access`); empty: nobody that was recognised."""
    action: str
    status: int
    """As HTTP tells it: below 400 it was done."""
    run: str = ""
    about: str = ""
    """What else it was about: a workflow, an approval's key, a token's name."""
    client: str = ""
    """The address that it came from."""
    more: int = 0
    """How many before it were refused likewise and have no entry of their own."""


class Received(msgspec.Struct, frozen=True, omit_defaults=True):
    """A delivery as it is kept: what was sent to a webhook, and what became of it.

    Secrets in it are replaced before it is kept (`rewake.http.keeping`).
    """

    at: Millis
    path: str
    """The hook's path, without `/hooks/`."""
    verdict: str
    """What became of it (`rewake.http.keeping.Became`)."""
    reason: str = ""
    """Why it was refused: for operators, not for whoever sent it."""
    status: int = 0
    """What it was refused with."""
    run: str = ""
    workflow: str = ""
    """The workflow of its hook; empty: no hook has its path."""
    key: str = ""
    """The idempotency key of its run, or of the first if it was sent again by hand."""
    method: str = "POST"
    headers: list[tuple[str, str]] = []
    query: list[tuple[str, str]] = []
    size: int = 0
    """How many bytes the body had."""
    whole: bool = True
    """Whether its body is kept, in an item beside this one; an empty one is in none."""
    client: str = ""
    """The address that it came from."""
    by: str = ""
    """Who has sent it again by hand."""
    of: str = ""
    """The delivery that was sent again by hand, by its id."""
    more: int = 0
    """How many before it were refused likewise and are not kept."""
    before: int = 0
    """The bytes of all items of its series before this one."""
    hidden: list[str] = []
    """What of its arguments its workflow marks as secret, for a process that has it no more."""


class ReceivedBody(msgspec.Struct, frozen=True):
    """The body of a delivery, so that a list of them reads none."""

    data: bytes


class Seen(msgspec.Struct, omit_defaults=True):
    """How often the page of an approval was looked at, about."""

    first: Millis
    last: Millis = 0
    times: int = 0


class Counter(msgspec.Struct, omit_defaults=True):
    """The number of the newest item of a series, and the bytes of all there were. It only rises."""

    last: int = 0
    size: int = 0


class Day(msgspec.Struct, frozen=True):
    """That runs were started on this day: the number of days since 1970."""

    day: int


class Join(msgspec.Struct, omit_defaults=True):
    """Where arrivals of one shard of a wide run are counted (`rewake.stores.joins`)."""

    number: int = 0
    """That of its newest opening or closing."""
    missing: int = 0
    """Minus how many arrivals are missing; 0: it is closed."""
    spared: bool = False
    """Whether all of these may be failures."""


class Process(msgspec.Struct, omit_defaults=True):
    """A process that holds something for long: its lease is that of all it holds."""

    name: str
    """A name that no other process has, and that it has until it was taken for dead."""
    where: str
    """The process for people, as `host:pid`."""
    lease: Millis = 0
    """Until when it has what it holds without renewing."""
    over: Millis = 0
    """When its lease was found to be over, if it has not been renewed since."""
    dead: bool = False
    """Whether its lease was found to be over: then it renews no more, and all may be taken."""
    looks: int = 0
    """How often what it held was looked for since."""
    due: Millis | None = None
    """When a sweep must check it."""
    tag: str = ""
    """Whose sweep that is: as of an operation."""
    tags: list[str] = []
    """The tags of what it may hold, the empty one for untagged work; none: nothing but that."""
    written: Millis = 0
    """When these moments were set, by the clock of who set them. See `rewake.stores.set_back`."""


class Copying(msgspec.Struct, omit_defaults=True):
    """What a database says into which another one is being copied. It goes with the end of that."""

    source: str
    """The address of the other one, without a password."""
    stamp: str
    """What told its state, so that a copy is gone on with only while it has not changed."""
    done: str = ""
    """The partition up to which its items are here."""


class KnownTag(msgspec.Struct, omit_defaults=True):
    """A tag that a task was asked for with, or a server is started with."""

    tag: str
    until: Millis = 0
    """Until when a server serves it, by the word of any that is good for longest."""
    said: Millis = 0
    """When that was said."""
    run: str = ""
    """A run of which something waits that was sent to servers of the tag, and that none takes."""
    key: str = ""
    """Its task that does; empty: the run itself."""
    since: Millis = 0
    """Since when that is known."""
    seen: Millis = 0
    """When it was still so."""


class Flood(msgspec.Struct, omit_defaults=True):
    """How many alerts of a hook were told in a window of time; or who looks for what is told."""

    name: str
    window: int = -1
    """The number of the window."""
    told: int = 0
    """How many there were in it, those that were left out too."""
    left: int = 0
    """How many were left out in the window before."""
    looker: str = ""
    """Of what is looked for: which process does so."""
    until: Millis = 0
    """Until when the others leave that to it."""


class Became(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What became of a nominal time of a schedule: a run, or nothing, and why."""

    at: Millis
    """The nominal time; of several, the first."""
    run: str = ""
    why: str = ""
    until: Millis | None = None
    """Of several nominal times, the last, or where the next ones begin."""


class Backfill(msgspec.Struct, frozen=True, array_like=True):
    """Nominal times of the past for which runs are still to be started."""

    next: Millis
    until: Millis
    """The moment before which they are."""
    queue: bool = False
    """Whether each waits for the end of the one before."""
    last: str = ""
    """The run of the one before."""


class Schedule(msgspec.Struct, omit_defaults=True):
    """When runs of a workflow are started, and how far that has come."""

    name: str
    workflow: str
    created: Millis
    cron: str = ""
    """A cron line in the zone `tz`; empty: every `period` from `start` on."""
    tz: str = ""
    period: Millis = 0
    start: Millis = 0
    tenant: str = ""
    """Whose its runs are; empty: nobody's in particular."""
    inputs: str = "{}"
    """The arguments of each run, as a JSON object."""
    hidden: list[str] = []
    """Those parts of them that nobody is shown (`rewake.values.redaction`)."""
    jitter: Millis = 0
    overlap: str = "skip"
    """What is done while the run before goes on (`rewake.schedules.definition.Overlap`)."""
    catch_up: Millis = 0
    """How late a run may be started that could not be when it was due."""
    code: str = ""
    """The digest of what the code says of it, as last seen; empty: it was made by a request."""
    earlier: list[str] = []
    """What code said of it before that, newest last (`rewake.engine.schedules.agreeing`)."""
    asks: str = ""
    """What earlier code says, whose server asks whether the newer code is still run."""
    asked: Millis = 0
    """When it has asked."""
    by: str = ""
    """Who made it or changed it last; empty: the code."""
    paused: bool = False
    noted: str = ""
    """Why it is paused, or what a deploy has changed."""
    mark: str = ""
    """The mark of the newest write, which fences the next."""
    done: Millis = 0
    """The newest nominal time that is done with, or when it was made. It never goes back."""
    next: Millis | None = None
    """The next nominal time, later than `done`."""
    due: Millis | None = None
    """When a sweep must look at it."""
    taken: Millis | None = None
    """Since when somebody starts what was due then, who has not written down what became of it."""
    last: str = ""
    """The run that it has started last."""
    started: int = 0
    skipped: int = 0
    """How many nominal times had a run, and how many had none; many that were missed count as 1."""
    became: list[Became] = []
    """Of its newest nominal times, the newest last."""
    backfills: list[Backfill] = []
    trouble: str = ""
    """Why it could not start the run that is due."""


class View(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry of the list of runs, or of that of child runs; the run's header has the rest."""

    run: str
    workflow: str
    created: Millis
    child: bool = False


class Holder(msgspec.Struct, frozen=True, array_like=True):
    """Who holds a limit: a task of a run, or (without a key) the run itself."""

    run: str
    key: str
    round: int
    since: Millis
    grant: str
    """The mark of the write by which it has it: another one once it begins."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """The result of a task that is cached, and of which operation it is."""

    run: str
    key: str
    at: Millis
    """When it was kept."""
    value: Value
    """Bound to its limit (`rewake.engine.limits.caching`)."""


PATROL: Millis = 60_000
"""How often a limit is looked at that has holders and no line, in milliseconds."""


class Limit(msgspec.Struct, omit_defaults=True):
    """A limit of one key: who holds it, and how its line goes on (`rewake.stores.books`)."""

    id: str
    kind: str
    name: str
    key: str = ""
    count: int = 0
    """How many may hold it, or begin `per` milliseconds, as it was last said."""
    per: Millis = 0
    holders: list[Holder] = []
    waits: bool = False
    """Whether somebody may wait in its line."""
    turn: int = 0
    """The virtual time of its line: that of the newest who was let in."""
    ahead: dict[str, int] = {}
    """By share: the virtual time of its newest who waits, where that is later than `turn`."""
    next: int = 0
    """Of a rate: when the next one may begin, in microseconds."""
    lately: list[str] = []
    """Of a throttle: who was let through last, for who dies before that is written elsewhere."""
    run: str = ""
    """The run that gathers what comes, until it begins."""
    kept: Kept | None = None
    """Of what is cached: what the newest holder has come to, good for `per` milliseconds."""
    cleared: Millis = 0
    """Of what is cached: what was begun by then is not kept."""
    mark: str = ""
    """The mark of the newest change."""
    due: Millis | None = None
    """When a sweep must check it."""
    written: Millis = 0
    """When it was changed last."""


class Waiter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who waits in the line of a limit; its sort key is its place."""

    run: str
    key: str = ""
    """The task; empty: the run itself."""
    name: str = ""
    round: int = 0
    tag: str = ""
    terms: Terms = FREE
    time: int = 0
    """Its virtual time."""
    since: Millis = 0
    joined: bool = False
    spared: bool = False
    """The hints of its message (`Invocation`): else each outcome would wake a wide run."""


class Cached(msgspec.Struct, frozen=True):
    """That a result of a run is cached by the limit of this id, perhaps: it goes with the run."""

    run: str
    id: str


class Labelled(msgspec.Struct, frozen=True):
    """An entry of the list of the runs that have a label."""

    run: str
    workflow: str
    created: Millis


class Gathered(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a start was gathered: kept for a while, since it may be sent again."""

    run: str
    """The run that has it, or is to."""
    due: Millis | None = None
    """When a sweep is to remove this."""
    sure: bool = False
    """Whether it is in that run; else its header tells, or it is the start's own run."""


class Forking(msgspec.Struct, omit_defaults=True):
    """That a fork is being made: what is copied for it is of no run before its header is there."""

    run: str
    of: str
    """The run that is forked."""
    key: str
    """The operation before which it is."""
    lap: int
    """The lap in which that is."""
    due: Millis
    """From then on it is given up: it goes, and will never begin."""
    written: Millis = 0


LedgerItem = (
    View
    | Labelled
    | Token
    | Audited
    | Received
    | ReceivedBody
    | Counter
    | Day
    | Join
    | Process
    | Schedule
    | Flood
    | Seen
    | KnownTag
    | Copying
    | EventItem
    | Limit
    | Waiter
    | Cached
    | Gathered
    | Forking
)
