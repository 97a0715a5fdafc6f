"""Suspects: work that may have killed the processes under which it was lost.

When a process dies, all that it held is lost together, and nothing says whose fault it was.

1. What was lost once is begun again at once, in company: most deaths are nobody's fault (a machine,
   a deploy), and work must go on within seconds.
2. What was lost `COMPANY` times in a row is a *suspect*. Only a process that has no other suspect
   claims it, and the claim says so (`apart`). Work that is no suspect may run beside it.
3. After a while that doubles with each loss (`alone_for`) its holder renews the lease without
   `apart`, and begins the next suspect. So whatever kills soon is found soon, work that takes hours
   does not keep others waiting for hours, and what kills late is alone for long enough in the end.
4. A loss is a *strike* only if the claim was apart when it ran out. After `ALONE` strikes, and as
   many deaths in all as the engine's settings allow, the suspect is condemned.

Progress ends the suspicion of a run. A holder that was taken for dead and lives (`taken` names it)
ends that of what was taken from it: only deaths in a row count. A run or a task that was lost but
never apart is thus never condemned, however many processes died under it.
"""

from __future__ import annotations

from collections.abc import Mapping

from rewake.records import Header, Millis, Operation

COMPANY = 2
"""Losses in a row that make a suspect."""
ALONE = 2
"""Strikes that condemn: one may be the fault of work beside it that was no suspect yet."""
LONGEST = 600_000
"""The longest that a suspect is kept apart, in milliseconds."""
CLEARED: Mapping[str, int | str] = {"deaths": 0, "strikes": 0, "taken": ""}
"""The fields of an item without any suspicion."""
BLAMED: Mapping[str, int] = {"deaths": 1, "strikes": 1}
"""What is added to an item whose fault it is known to be, as if it had been the only suspect."""


def absolved(held: Header) -> Mapping[str, int | str]:
    """The changes by which a run that makes progress is no suspect, and has no error, any more.

    Mostly there are none. Only a claim makes a suspect of it, so it is as its holder claimed it.
    """
    suspect = held.deaths or held.strikes or held.taken or held.error
    return {**CLEARED, "error": ""} if suspect else {}


def is_suspect(deaths: int) -> bool:
    """Whether that under which so many processes died in a row must be begun apart."""
    return deaths >= COMPANY


def is_condemned(item: Header | Operation, limit: int) -> bool:
    """Whether `limit` processes died under it, and it was the only suspect in enough of them."""
    return item.deaths >= limit and item.strikes >= ALONE


def losing(found: Header | Operation) -> Mapping[str, int]:
    """What a take-over adds to an item whose holder seems dead."""
    return {"deaths": 1, "strikes": 1 if found.apart else 0}


def alone_for(deaths: int, lease: Millis) -> Millis:
    """For how long a suspect under which so many processes died is kept apart."""
    doubled: Millis = lease * 2 << min(deaths - COMPANY, 20)
    return min(doubled, LONGEST)
