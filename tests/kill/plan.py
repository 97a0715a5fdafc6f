"""At which points the sweep kills: a representative few, or all that an unkilled run passes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tests.kill.points import AFTER, BEFORE, INSIDE, Kill

CALLS: Mapping[str, int] = {
    "store.start": 1,
    "store.claim": 3,
    "store.commit": 5,
    "store.park": 14,
    "store.finish": 1,
    "store.renew": 1,
    "store.renew_process": 1,
    "store.claim_task": 9,
    "store.renew_task": 1,
    "store.retry_task": 3,
    "store.send": 2,
    "store.enter": 2,
    "store.leave": 1,
    "store.deliver": 12,
    "store.hear": 1,
    "store.watch": 1,
    "store.vote": 1,
    "store.cancel_withdrawn": 1,
    "table.get": 20,
    "table.get_many": 5,
    "table.put": 6,
    "table.update": 60,
    "table.query": 3,
    "table.due": 1,
    "table.put_blob": 1,
    "table.get_blob": 2,
    "table.together": 50,
    "dispatch.dispatch": 9,
}
"""The calls that write, and all that a table and a dispatcher have: the n-th of each."""

OTHERS = frozenset(
    f"store.{name}"
    for name in (
        "absolve",
        "forget_gathered",
        "gather",
        "gathered",
        "hold_back",
        "interrupt_step",
        "hold_off",
        "keep_gathered",
        "leave_line",
        "limit",
        "limits",
        "line",
        "look_later",
        "look_at",
        "give_up_fork",
        "name_gatherer",
        "note_admission",
        "places",
        "put_off",
        "reserve",
        "absolve_task",
        "report_task",
        "recheck",
        "offload",
        "resolve",
        "settle",
        "outcomes",
        "operation",
        "find",
        "header",
        "history",
        "newest",
        "as_it_stands",
        "batches",
        "due",
        "item",
        "postpone",
        "redeliver",
        "remove_values",
        "offer",
        "hand_on",
        "views",
        "outline",
        "entries",
        "last",
        "whole",
        "since",
        "operations",
        "set_right",
        "process",
        "end_process",
        "bury",
        "looked_for",
        "ended",
        "is_held",
        "has_task",
        "has_older",
        "let_go",
        "message",
        "restored",
        "said",
        "shelve",
        "with_result",
        "standing",
        "followed",
        "lay_down",
        "hold",
        "let_be_removed",
        "to_remove",
        "overdue",
        "remove",
        "clear",
        "settle_stone",
        "look_soon",
        "erase_stone",
        "headers",
        "steps",
        "step",
        "joined",
        "open_joins",
        "close_joins",
        "send_again",
        "signal",
        "signals",
        "signals_at",
        "signals_page",
        "backwards",
        "refuse",
        "answer",
        "adopt",
        "call_off",
        "cover",
        "disown",
        "look_after_laps",
        "watchers",
    )
) | {"table.delete", "table.delete_blobs", "table.get_many", "dispatch.is_behind", "dispatch.flush"}
"""Left to `--all`: they only read, are part of another one, or depend on what the clock does."""

BODIES = (
    "double",
    "shout",
    "lambda",
    "lambda.2",
    "nested",
    "nested_async",
    "large",
    "trip[1]/leg",
    "flaky",
    "hang",
    "pages[0]/pages",
    "race.2[0]/stall",
    "refuse",
    "facts",
    "plain",
    "large.2",
    "stubborn",
    "step[0]/slow",
    "once",
    "parallel[2]/of a branch",
    "parallel[1]/lambda",
    "later facts",
    "in_turn[0]/in_turn",
    "made_once",
    "hand on",
    "link",
    "sign-off:notify[0]/asked",
    "sign-off:notify[0]/decided",
    "cleanup",
)
"""The keys of tasks and steps to die in: each function and each step once."""

WAITS = (
    "sleep",
    "sleep_until",
    "asyncio.sleep",
    "asyncio.timeout",
    "approval",
    "callback",
    "child",
    "task backoff",
    "step backoff",
    "lost race",
    "signal",
)
"""The waits to die in."""


@dataclass(frozen=True)
class Plan:
    """What a story's servers die in: the n-th of each call, the keys of bodies, the waits."""

    calls: Mapping[str, int]
    bodies: tuple[str, ...]
    waits: tuple[str, ...]

    def before_and_after(self, call: str) -> list[Kill]:
        """The two points of one of the calls."""
        kind, name = call.split(".")
        return [Kill(kind, name, self.calls[call], when) for when in (BEFORE, AFTER)]

    @property
    def inside(self) -> list[Kill]:
        """Inside each body, and each wait."""
        waits = [Kill("wait", name) for name in self.waits]
        return [*(Kill("body", key) for key in self.bodies), *waits]

    @property
    def points(self) -> list[Kill]:
        """All of them."""
        return [
            *(kill for call in self.calls for kill in self.before_and_after(call)),
            *self.inside,
        ]


EVERYTHING = Plan(CALLS, BODIES, WAITS)
ENDLESS = Plan(
    {
        "store.answer": 1,
        "store.cancel": 1,
        "store.commit": 12,
        "store.deliver": 6,
        "store.finish": 6,
        "store.fork": 1,
        "store.gather": 1,
        "store.keep_gathered": 1,
        "store.name_gatherer": 2,
        "store.next_lap": 2,
        "store.park": 8,
        "store.pause": 1,
        "store.resume": 1,
        "store.send": 4,
        "store.signal": 2,
        "store.start": 6,
        "store.take_start": 2,
        "store.watch": 2,
        "table.delete": 5,
        "table.put": 60,
        "table.query": 20,
        "table.together": 70,
        "table.update": 90,
        "dispatch.dispatch": 8,
    },
    (
        "held",
        "end of the lap",
        "lap2/end of the lap",
        "lap2/pay",
        "lap2/up",
        "lap2/up.2",
        "cancelled",
        "heard",
        "collected",
        "settled",
        "delayed",
        "lap3/last",
    ),
    ("state", "event", "poll", "update", "pause"),
)
"""Of its calls those that `everything` does not make, or that do here what they do not there."""
GUARDED = Plan(
    {
        "store.cancel": 1,
        "store.enter": 3,
        "store.hold_back": 1,
        "store.let_begin": 1,
        "store.next_lap": 1,
        "store.put_off": 1,
        "store.remove": 1,
        "store.reserve": 2,
    },
    (
        "which",
        "it is to come",
        "paced[0]/paced",
        "it is over",
        "lap2/seldom",
        "woken",
        "made way",
        "tell_owner",
    ),
    ("retry", "cancelled child"),
)
"""Of its calls those of a retry, of a cancellation, at the door, of telling, and of going."""
PLANS: Mapping[str, Plan] = {"everything": EVERYTHING, "endless": ENDLESS, "guarded": GUARDED}
"""By the workflow of a story."""


def every(calls: Mapping[str, int]) -> Iterator[Kill]:
    """All the points of a run that made these calls, by `<kind>.<name>`."""
    for call, number in sorted(calls.items()):
        kind, name = call.split(".", 1)
        inside = kind in ("body", "wait")
        for nth in range(1, number + 1):
            for when in (INSIDE,) if inside else (BEFORE, AFTER):
                yield Kill(kind, name, nth, when)


def functions(keys: Iterable[str]) -> set[str]:
    """The last parts of keys, without their counts: which functions there are."""
    return {re.sub(r"\.\d+$", "", key.rpartition("/")[2]) for key in keys}
