"""Where every item lives: its partition and its sort key.

    partition   sort key                    item
    R#<run>     H                           Header      the one item that decides
    R#<run>     C#<number>#<mark>           Chunk       older entries; <mark> is of the write, and
                                                        of a later lap, `<lap>~<mark>`
    R#<run>     O#<key>                     Operation   a task, an approval, an interrupted step
    R#<run>     L#<key>#<attempt>#<part>    LogBatch    what an attempt logged
    R#<run>     S#<number>                  StreamBatch what attempts said, in the order told
    R#<run>     M#<digest of its id>        Signal      what was sent to the run
    R#<run>     W#<key>                     Seen        how often an approval's page was looked at
    O#<..>#<run> J                          Join        arrivals of a shard of a wide run
    P#<name>    P                           Process     the lease of one process
    R#<run>     K#<run>#<key>               Watcher     an operation that waits for its end
    V           <newest first>#<run>        View        what a list of runs needs
    U           <newest first>#<run>        View        the same of the runs that runs have begun
    Y           Y#<newest first>            Day         that runs were started on that day
    T           T#<id>                      Token       an API token
    G           G#<tag>                     KnownTag    a tag of tasks, and whether it is served
    A#<series>  N                           Counter     the number of its newest item
    A#<series>  A#<newest first>            Audited     an entry of the audit log
    D#<series>  N                           Counter     the same of deliveries
    D#<series>  D#<newest first>            Received    a delivery to a webhook
    D#<series>  B#<newest first>            ReceivedBody    its body
    Z           Z#<name>                    Schedule    when runs of a workflow are started
    F           F#<id>                      Limit       who holds a limit of one key
    f           F#<id>                      Limit       a result that is cached, who makes it
    R#<run>     c#<id>                      Cached      that a result of the run is cached, perhaps
    Q#<id>      Q#<place>                   Waiter      who waits in its line, first come first
    g#<digest of a start> g                 Gathered    which run has a start that was gathered
    E#<ref>     E                           Published   an event
    I#<name>    R#<digest>                  Shape       fields by which events are looked for
    I#<name>#<index> I#<place>#<ref>        Mention     an event, where a wait looks for it
    I#<name>#<index> U#<run>#<round>#<key>  Subscription    a wait, where an event looks for it
    R#<run>     f                           Forking     that a fork is being made
    a           a#<hook>                    Flood       how many alerts were told of late, or
                                                        who looks for what is told
    X           X                           Copying     what it is a copy of, so far
    s           s#<tenant>#<name>#<key>     State       a keyed state
    l#<name>=<value>  l#<newest first>#<run>    Labelled    that a run has this label

The first letter of a sort key tells the type of the item; those of views have no such letter.

Where a table spreads what many write at once, operations and logs of wide runs are in partitions
`O#<shard>#<run>`, views in `V#<day>#<shard>` (or `U#`), what is about all events of a name in
`I#<name>#all#<shard>`, items of a series in
`A#<series>#<shard>` (or `D#`), schedules in
`Z#<shard>`, limits in `F#<shard>` (or `f#`), states in `s#<shard>`, runs by a label in
`l#<shard>#<label>`:
`stores/layout.py` and `stores/series.py` say which. Sort keys stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from rewake.keyed import State
from rewake.kin import Watcher
from rewake.laps import FIRST
from rewake.ledger import (
    Audited,
    Cached,
    Copying,
    Counter,
    Day,
    Flood,
    Forking,
    Gathered,
    Join,
    KnownTag,
    Labelled,
    Limit,
    Process,
    Received,
    ReceivedBody,
    Schedule,
    Seen,
    Token,
    View,
    Waiter,
)
from rewake.limited import CACHED, Line
from rewake.published import Mention, Published, Shape, Subscription
from rewake.records import Chunk, Header, Item, Millis, Operation, Signal
from rewake.stores.table import Key
from rewake.streamed import LogBatch, StreamBatch

VIEWS = "V"
"""The partition in which runs are listed."""
CHILDREN = "U"
"""The partition in which the runs are listed that runs have begun: they can be very many."""
DAYS = "Y"
"""The partition of the days on which runs were started, where views are spread by day."""
TOKENS = "T"
"""The partition of all API tokens."""
SCHEDULES = "Z"
"""The partition of all schedules, where they are not spread."""
TAGS = "G"
"""The partition of all tags that tasks had, or servers serve."""
LIMITS, CACHE = "F", "f"
"""The partition of all limits, where they are not spread, and that of all that is cached."""
MENTIONS, SHAPES, SUBSCRIPTIONS = "I#", "R#", "U#"
"""The first letters of the sort keys of what events are found by."""
CHUNKS, OPERATIONS, LOGS, STREAM, SIGNALS, SEEN = "C#", "O#", "L#", "S#", "M#", "W#"
"""The first letters of the sort keys of what a run has: chunks, operations, logs, its stream,
signals, and of pages."""
CACHED_OF, WATCHERS = "c#", "K#"
"""Those of what says that a result of it is cached; that one of another waits for its end."""

TYPES: Mapping[str, type[Item]] = {
    "H": Header,
    "C": Chunk,
    "O": Operation,
    "L": LogBatch,
    "S": StreamBatch,
    "M": Signal,
    "W": Seen,
    "l": Labelled,
    "s": State,
    "P": Process,
    "T": Token,
    "G": KnownTag,
    "N": Counter,
    "A": Audited,
    "D": Received,
    "B": ReceivedBody,
    "X": Copying,
    "Z": Schedule,
    "E": Published,
    "R": Shape,
    "I": Mention,
    "U": Subscription,
    "a": Flood,
    "f": Forking,
    "J": Join,
    "K": Watcher,
    "F": Limit,
    "Q": Waiter,
    "c": Cached,
    "g": Gathered,
    DAYS: Day,
    VIEWS: View,
}
"""The type of an item, by the first letter of its sort key; of a view by its partition."""

_LATEST: Millis = 10**15
_MOST_DAYS = 10**8
DAY: Millis = 86_400_000
_MOST_NUMBERS = 10**12
_CHUNK_PLACE = re.compile(rf"{CHUNKS}[0-9]{{8}}.*", re.DOTALL)
_MOMENT = re.compile("[0-9]+")
_VIEW_PLACE = re.compile(r"[0-9]{15}(#.+|\$)", re.DOTALL)
_SCHEDULE_PLACE = re.compile(r"Z#[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LIMIT_PLACE = re.compile(r"F#(c-)?[0-9a-f]{24}")
_TOKEN_PLACE = re.compile(r"T#[0-9a-f]{16}")


def run_partition(run: str) -> str:
    """The partition that holds all of a run."""
    return f"R#{run}"


def shard_partition(run: str, shard: int) -> str:
    """The partition of a shard of a run, which holds some operations of a wide one."""
    return f"O#{shard:02d}#{run}"


def join_key(run: str, shard: int) -> Key:
    """Where arrivals of a shard of a run are counted."""
    return Key(shard_partition(run, shard), "J")


def run_of(key: Key) -> str:
    """The run that the item under a key belongs to."""
    if key.partition.startswith("O#"):
        return key.partition[5:]
    return key.partition.removeprefix("R#")


def is_of_run(key: Key) -> bool:
    """Whether the item under a key belongs to a run."""
    return key.partition.startswith(("R#", "O#"))


_LISTS = frozenset(f"{letter}{end}" for letter in (VIEWS, CHILDREN) for end in ("", "#"))
"""How partitions begin that have views of runs."""


def is_view(key: Key) -> bool:
    """Whether the item under a key is the view of a run."""
    return key.partition[:2] in _LISTS


def letter_of(key: Key) -> str:
    """What tells the type of the item under a key, in `TYPES`."""
    return VIEWS if key.partition[:2] in _LISTS else key.sort[:1]


def billed_run(key: Key) -> str:
    """The run for which an item is asked for: its own, or that of a view; empty: none."""
    if is_view(key):
        return key.sort.partition("#")[2]
    return run_of(key) if is_of_run(key) else ""


def header_key(run: str) -> Key:
    """Where a run's header is."""
    return Key(run_partition(run), "H")


def forking_key(run: str) -> Key:
    """Where it is noted that a run is being made as a fork."""
    return Key(run_partition(run), "f")


def is_forking(key: Key) -> bool:
    """Whether it is noted under this key that a fork is being made."""
    return key.sort == "f" and is_of_run(key)


def process_key(name: str) -> Key:
    """Where a process's item is."""
    return Key(f"P#{name}", "P")


def token_key(id: str) -> Key:
    """Where the token of this id is."""
    return Key(TOKENS, f"T#{id}")


def tag_key(tag: str) -> Key:
    """Where it is kept whether a tag is served."""
    return Key(TAGS, f"G#{tag}")


def flood_key(hook: str) -> Key:
    """Where the alerts of a hook are counted."""
    return Key("a", f"a#{hook}")


def schedules_partition(shard: int | None) -> str:
    """The partition of a shard of all schedules; None: they are not spread."""
    return SCHEDULES if shard is None else f"{SCHEDULES}#{shard:02d}"


def schedule_sort(name: str) -> str:
    """The sort key of the schedule of this name."""
    return f"Z#{name}"


def is_schedule(key: Key) -> bool:
    """Whether the item under a key is a schedule."""
    return key.partition.startswith(SCHEDULES)


def schedule_of(key: Key) -> str:
    """The name of the schedule under a key."""
    return key.sort.removeprefix("Z#")


def is_schedule_place(sort: str) -> bool:
    """Whether this can be a cursor of a list of schedules."""
    return _SCHEDULE_PLACE.fullmatch(sort) is not None


def limit_key(id: str, shard: int | None) -> Key:
    """Where the limit of this id is; `shard`: its part, where limits are spread."""
    all_ = CACHE if id.startswith(CACHED) else LIMITS
    return Key(all_ if shard is None else f"{all_}#{shard:02d}", f"F#{id}")


def is_limit_place(sort: str) -> bool:
    """Whether this can be a cursor of a list of limits."""
    return _LIMIT_PLACE.fullmatch(sort) is not None


def cached_key(run: str, id: str) -> Key:
    """Where a run says that a result of it is cached."""
    return Key(run_partition(run), CACHED_OF + id)


def line_partition(id: str) -> str:
    """The partition of who waits in the line of a limit."""
    return f"Q#{id}"


def waiter_key(line: Line) -> Key:
    """Where somebody waits, by its place in the line of a limit."""
    return Key(line_partition(line.id), line.place)


def is_token_place(sort: str) -> bool:
    """Whether this is a cursor of a list of tokens."""
    return _TOKEN_PLACE.fullmatch(sort) is not None


def event_key(ref: str) -> Key:
    """Where the event of this ref is."""
    return Key(f"E#{ref}", "E")


def is_event(key: Key) -> bool:
    """Whether an event is under this key."""
    return key.partition.startswith("E#")


def shapes_partition(name: str) -> str:
    """The partition of the shapes of the events of a name."""
    return f"I#{name}"


def shape_key(name: str, digest: str) -> Key:
    """Where it is noted that events of a name are looked for by the fields of this digest."""
    return Key(shapes_partition(name), f"{SHAPES}{digest}")


def index_partition(name: str, index: str) -> str:
    """The partition of an index of the events of a name, if it is not spread."""
    return f"I#{name}#{index}"


def mention_key(name: str, index: str, mention: Mention) -> Key:
    """Where a mention is in an index that is not spread: by place."""
    sort = f"{mentions_from(mention.place)}#{mention.ref}"
    return Key(index_partition(name, index), sort)


def mentions_from(place: Millis) -> str:
    """The beginning of the sort keys of the mentions at this place."""
    return f"{MENTIONS}{max(0, place):015d}"


def subscription_key(name: str, index: str, subscription: Subscription) -> Key:
    """Where a subscription is in an index that is not spread."""
    of = f"{subscription.run}#{subscription.round:06d}#{subscription.key}"
    return Key(index_partition(name, index), f"{SUBSCRIPTIONS}{of}")


COPYING = Key("X", "X")
"""Where a database says that it is the copy of another one, so far."""


def counter_key(series: str) -> Key:
    """Where the counter of a series is, by the partition of that."""
    return Key(series, "N")


def series_partitions(series: str, shards: int) -> list[str]:
    """The partitions in which the items of a series are, in turn; its own has the counter."""
    return [series] if shards == 1 else [f"{series}#{shard:02d}" for shard in range(shards)]


def dealt_to(partitions: Sequence[str], number: int) -> str:
    """The partition, of those of a series, in which the item of this number is."""
    return partitions[number % len(partitions)]


def series_of(partition: str) -> str:
    """The series of which this is one of the partitions."""
    return "#".join(partition.split("#")[:2])


def numbered_key(series: str, letter: str, number: int) -> Key:
    """Where the item of this number in a series is: newest first."""
    return Key(series, f"{letter}#{_MOST_NUMBERS - number:012d}")


def number_in(key: Key) -> int:
    """The number of an item in its series."""
    return _MOST_NUMBERS - int(key.sort[2:])


def operation_key(run: str, key: str) -> Key:
    """Where an operation's item is."""
    return Key(run_partition(run), f"{OPERATIONS}{key}")


def seen_key(run: str, key: str) -> Key:
    """Where it is counted how often an approval's page was looked at."""
    return Key(run_partition(run), f"{SEEN}{key}")


def chunk_key(run: str, number: int, mark: str, lap: int = FIRST) -> Key:
    """Where the chunk of this number in its lap is; `mark` is of the write that made it."""
    mark = mark if lap == FIRST else f"{lap}~{mark}"
    return Key(run_partition(run), f"{chunks_of(number)}{mark}")


def lap_of_chunk(sort: str) -> int:
    """The lap of the chunk that this sort key names."""
    lap, _, _ = sort[len(chunks_of(0)) :].rpartition("~")
    return int(lap or FIRST)


def chunks_of(number: int) -> str:
    """The beginning of the sort keys of the chunks of this number: most are alone."""
    return f"{CHUNKS}{number:08d}#"


def chunk_number(sort: str) -> int:
    """The number of the chunk that this sort key names, from 0; -1 for an empty sort key."""
    return int(sort[len(CHUNKS) : len(CHUNKS) + 8]) if sort else -1


def is_chunk_place(sort: str) -> bool:
    """Whether this can be the sort key of a chunk: a client says it in a cursor."""
    return _CHUNK_PLACE.fullmatch(sort) is not None


def log_key(run: str, key: str, attempt: int, part: int) -> Key:
    """Where a batch of an attempt's log is."""
    return Key(run_partition(run), f"{logs_of(key)}{attempt:04d}#{part:04d}")


def logs_of(key: str) -> str:
    """The beginning of the sort keys of one operation's logs."""
    return f"{LOGS}{key}#"


def signal_key(run: str, id: str) -> Key:
    """Where the signal of this id is."""
    return Key(run_partition(run), signal_place(id))


def signal_place(id: str) -> str:
    """The sort key of the signal of this id, which a sender may have chosen as it likes."""
    return SIGNALS + hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def stream_key(run: str, number: int) -> Key:
    """Where the batch of this number in a run's stream is, from 0."""
    return Key(run_partition(run), f"{STREAM}{number:010d}")


def stream_number(sort: str) -> int:
    """The number of the batch that this sort key names."""
    return int(sort.removeprefix(STREAM))


def view_key(view: View) -> Key:
    """Where a run's view is, if views are not spread: newest first."""
    list_ = CHILDREN if view.child else VIEWS
    return Key(list_, f"{_LATEST - view.created:015d}#{view.run}")


def views_partition(list_: str, day: int, shard: int) -> str:
    """The partition of some of the views, in one list, of the runs that were started on a day."""
    return f"{list_}#{day}#{shard:02d}"


def watcher_key(run: str, watcher: Watcher) -> Key:
    """Where it is kept that an operation of another run waits for the end of this one."""
    return Key(run_partition(run), f"{WATCHERS}{watcher.run}#{watcher.key}")


def day_key(day: int) -> Key:
    """Where it is noted that runs were started on a day, by its number: newest first."""
    return Key(DAYS, f"{DAYS}#{_MOST_DAYS - day:09d}")


def days_before(view: str) -> str:
    """The cursor in the list of days behind which is the first that has views behind this one."""
    moment = _LATEST - int(_MOMENT.match(view)[0])  # type: ignore[index]
    return day_key(moment // DAY + 1).sort


def views_until(moment: Millis) -> str:
    """A cursor behind the views of all runs that were started later than this moment."""
    return f"{max(0, _LATEST - moment):015d}"


def moment_of_view(sort: str) -> str:
    """The part of a view's sort key, or of a cursor, that tells the moment."""
    return sort[:15]


def views_behind(sort: str) -> str:
    """A cursor behind the views of all runs that were started at the moment of this one."""
    return f"{moment_of_view(sort)}$"


def is_view_place(sort: str) -> bool:
    """Whether this is a cursor of a list of runs: a view's sort key, or what stands behind some."""
    return _VIEW_PLACE.fullmatch(sort) is not None


def view_of(key: Key) -> View:
    """What the key of a view says of it: all but the workflow, which the run's header has too."""
    moment, _, run = key.sort.partition("#")
    child = key.partition.startswith(CHILDREN)
    return View(run, "", _LATEST - int(moment), child)
