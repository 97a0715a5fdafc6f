"""A report at nine on workdays, as clocks in Zurich show it.

    rewake dev examples/scheduled_report.py
    rewake schedules list

The scheduled workflows of DBOS and Temporal. However many servers there are, each of these times
has one run; `scheduled_at()` is the time that it is of, however late it begins.
"""

from __future__ import annotations

from rewake import cron, now, parallel, scheduled_at, task, workflow

TEAMS = ["sales", "support"]


@task(retries=3)
def count(team: str, day: str) -> int:
    return len(team) + len(day)


@task(retries=3)
def send(text: str) -> str:
    return text


@workflow(schedule=cron("0 9 * * mon-fri", tz="Europe/Zurich"))
async def report() -> str:
    day = f"{scheduled_at() or now():%Y-%m-%d}"
    counts = await parallel(TEAMS, lambda team: count(team, day))
    lines = [f"{team}: {number}" for team, number in zip(TEAMS, counts, strict=True)]
    return await send(f"{day}\n" + "\n".join(lines))
