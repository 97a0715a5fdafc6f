"""Answers to updates: each is an entry, and once committed it is put where its sender finds it.

A death between the two is made good by whoever asks, who finds the entry; and as a lap ends, whose
entries nobody finds any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rewake.engine.services import Services
from rewake.kinds import Kind
from rewake.records import Entry, Scheduled
from rewake.stores.keys import signal_place


def answers_in(entries: Sequence[Entry]) -> Collection[Scheduled]:
    """The answers among these entries; each is named by the id of what it answers."""
    return [
        each
        for each in entries
        if isinstance(each, Scheduled) and each.kind is Kind.ANSWER and each.args is not None
    ]


async def answer(services: Services, run: str, entries: Sequence[Entry]) -> None:
    """Put the answers among entries that are committed now."""
    for each in answers_in(entries):
        assert each.args is not None
        await services.store.answer(run, each.name, each.key, each.args)
        services.streams.watchers.tell(run)


async def answer_late(services: Services, run: str, lap: Sequence[Entry]) -> None:
    """Put those answers of a lap that ends whose putter has died before."""
    answers = answers_in(lap)
    if not answers:
        return
    found = await services.store.signals_at(run, [signal_place(each.name) for each in answers])
    missing = {each.id for each in found if not each.answered}
    await answer(services, run, [each for each in answers if each.name in missing])
