"""The book of one limit: who holds it, and who comes next. Nothing here does I/O.

Holders stand in the limit's own item, so that one conditional write decides who comes in, and there
are never more of them than the limit allows. Who waits has an item of its own in the line, so that
the limit's item stays small however many do.

1. Who comes puts its item into the line first, where it finds the limit taken, and then changes the
   limit (`waits`). Who leaves changes the limit as well. So of two that meet, one sees what the
   other has done: either who leaves finds the waiter, or who comes finds the place free.
2. Nobody comes in past somebody who may wait: whoever finds a free place lets the first ones of
   the line in, by one write that names them as holders, and then takes their items out of it.
3. A holder is a task or a run, not a process. If its process dies, another goes on with it under
   the same place. A place is given back when what is stored says that no attempt can be under way:
   by whoever has ended it, or else by a look at the limit when it is due. It is given back only if
   its `grant` is what it was; an attempt that begins changes that first. From a task that has not
   begun it is taken only once its item has another mark, by which who was let in begins no more.

The order is that of *virtual time* (start-time fair queueing; Goyal, Vin, Cheng 1996). A waiter's
time is one more than the newest of its share, or than the time of the line, whichever is later;
that is the time of the newest who was let in. So shares take turns, and who has one thousand in
line delays another's first by one. A share's time is kept while it is ahead of the line's; shares
are told apart by 256 digests, so that an item stays small: two that have one digest share
(stochastic fairness queueing; McKenney 1990).

One level of priority is worth `LEVEL` places. So a higher one comes first, and yet nobody waits for
ever: what comes later than that many turns cannot pass it.

What is *cached* is a limit of one holder, who makes the result. It is kept in the same item, by the
write that gives the place back: from then on nobody needs the place, and who waits is told at once.

A rate is a generic cell rate algorithm: the limit's item says when the next one may begin, and who
comes reserves that moment by one write. Nobody waits in a line, and nobody asks again.

Of a throttle that item names who was let through last: one that dies before that is written
elsewhere comes again, and must not be refused for what it has itself taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import msgspec

from rewake.ledger import Holder, Kept, Limit, Waiter
from rewake.limited import Limited, LimitKind, Millis

LATELY = 20
"""So many who were let through are known. Past that, one that comes again counts twice."""
LEVEL = 1_000
"""So many places in line is one level of priority worth."""
SHARES = 256
"""So many shares are told apart."""
FULL = 256 * 1024
"""The most bytes of holders, for an item has 400 KiB at most. Who comes then waits."""
FEW = 200
"""So many holders have room, whatever they are called."""
BESIDE = 64
"""The bytes of a holder beside its names, at most."""
_LATEST = 10**15
"""More than any virtual time, and any level of priority, so that places are no negative numbers."""

Change = Callable[[Limit], Limit]


def blank(limit: Limited) -> Limit:
    """The book of a limit that nobody holds."""
    return Limit(limit.id, limit.kind, limit.name, limit.key)


def asked(
    found: Limit | None, limit: Limited, past: Kept | None, now: Millis, margin: Millis
) -> Limit:
    """The book as who comes asks it to be, without what is kept no more, or is `past`."""
    book = msgspec.structs.replace(found or blank(limit), count=limit.count)
    if limit.kind is not LimitKind.CACHE:
        return book
    book = msgspec.structs.replace(book, per=limit.per)
    is_kept = book.kept != past and is_fresh(book, limit.per, now, margin)
    return book if is_kept else msgspec.structs.replace(book, kept=None)


def held_by(book: Limit, run: str, key: str) -> Holder | None:
    """The place of a task or a run among the holders, if it has one."""
    return next((each for each in book.holders if (each.run, each.key) == (run, key)), None)


def is_free(book: Limit, count: int) -> bool:
    """Whether one more may hold it, of so many, and finds room in its item."""
    return len(book.holders) < count and not _is_full(book)


def _is_full(book: Limit) -> bool:
    if len(book.holders) < FEW:
        return False
    names = (len(each.run) + len(each.key.encode()) + BESIDE for each in book.holders)
    return sum(names) > FULL


def is_fresh(book: Limit, per: Millis, now: Millis, margin: Millis) -> bool:
    """Whether it keeps a result that is no older than `per`.

    How old one is that was kept under a clock that was set back since, nobody knows.
    """
    return book.kept is not None and book.kept.at - margin <= now < book.kept.at + per


def is_idle(book: Limit, now: Millis, margin: Millis) -> bool:
    """Whether it says nothing that a missing item would not."""
    used = book.holders or book.waits or is_fresh(book, book.per, now, margin)
    return not used and book.next <= now * 1000


def entered(book: Limit, who: Waiter, grant: str, now: Millis) -> Limit:
    """The book with a holder more, or with a new grant for one that is there."""
    others = [each for each in book.holders if (each.run, each.key) != (who.run, who.key)]
    new = Holder(who.run, who.key, who.round, now, grant)
    return msgspec.structs.replace(book, holders=[*others, new])


def left(book: Limit, run: str, key: str, grant: str) -> Limit:
    """The book without a holder, if its grant is this one."""
    same = held_by(book, run, key)
    if same is None or same.grant != grant:
        return book
    return msgspec.structs.replace(book, holders=[h for h in book.holders if h is not same])


def filled(book: Limit, holder: Holder, kept: Kept) -> Limit:
    """The book that keeps what a holder came to, unless it was cleared meanwhile."""
    if holder.since <= book.cleared:
        return book
    return msgspec.structs.replace(book, kept=kept)


def queued(book: Limit, share: str) -> tuple[Limit, int]:
    """The book when one more of a share is in line, and the virtual time of that one."""
    bucket = f"{zlib.crc32(share.encode()) % SHARES:02x}"
    time = max(book.turn, book.ahead.get(bucket, 0)) + 1
    kept = {name: at for name, at in book.ahead.items() if at > book.turn}
    return msgspec.structs.replace(book, waits=True, ahead=kept | {bucket: time}), time


def place_of(time: int, priority: int, number: int, mark: str) -> str:
    """The sort key of a waiter; `number` orders those of one time, and `mark` is its own."""
    return f"Q#{_LATEST + time - LEVEL * priority:016d}#{number:013d}#{mark}"


def let_in(
    book: Limit, line: Sequence[Waiter], grant: str, now: Millis, count: int
) -> tuple[Limit, list[Waiter]]:
    """The book with as many of the first in line as there are places, and who has come in.

    One that holds it already stands in line twice, and has no second place. `count`: how many may
    hold it, where who waits does not say.
    """
    came: list[Waiter] = []
    for who in line:
        if held_by(book, who.run, who.key) is not None:
            continue
        if not is_free(book, count):
            break
        book = entered(book, who, grant, now)
        book = msgspec.structs.replace(book, turn=max(book.turn, who.time))
        came.append(who)
    return book, came


def reserved(
    book: Limit,
    limit: Limited,
    now: Millis,
    *,
    wait: bool,
    margin: Millis = 0,
    read: Millis | None = None,
    who: str = "",
) -> tuple[Limit, Millis]:
    """The book once a moment is reserved, and that moment; without `wait` only if it is now.

    A moment that was reserved under a clock that was set back since, by more than `margin`, is as
    far away as it was. `read`: what the clock shows as the book is read, where `now` is earlier.
    `who` has one moment, however often it comes for it.
    """
    if who in book.lately:
        return book, now
    every = max(1, limit.per * 1000 // limit.count)
    shown = now if read is None else read
    back = book.written - shown if book.written > shown + margin else 0
    next_ = book.next - back * 1000
    earliest = max(now * 1000, next_ - (limit.burst - 1) * every)
    moment = -(-earliest // 1000)
    if moment > now and not wait:
        return book, moment
    after = max(now * 1000, next_) + every
    lately = [*book.lately, who][-LATELY:] if who else book.lately
    changed = {"next": after, "count": limit.count, "per": limit.per, "lately": lately}
    return msgspec.structs.replace(book, **changed), moment
