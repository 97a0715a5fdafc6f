"""What goes wrong, and when: decided by a seed, and counted.

A fault hits one call of a table or a dispatcher. `before`: nothing was done, and the caller is
told so wrongly (`StoreUnavailable`). `told-failed`: it was done, and the caller is told that it
failed. `crash-before`, `crash-after`: the process dies, before or after it was done. `stall`: the
process stands still, its leases run out, and then it goes on as if nothing had been. A `pause` is
the same of all that the process does, its timers and its heart too; of `heart`, of that alone; of
`loop`, of all but that. A process whose loop is `blocked` hands over what it holds, with one
culprit or none, and ends or goes on; one that is `released`, with none. In an `outage` the store
refuses everybody for minutes; a process that is `refused` is the only one that cannot reach it.
A payload codec is `away` now and then, as a key service is, and encodes nothing.
Messages are `lost`, `doubled`, `late` or `early`. Time itself has `skew`, and `jump`s. People are
no fault: they `cancel` runs, do so `again`, `kill` and `pause` them, begin them once more by a
`fork` or a `rerun`, and write a `state`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rewake.signing.payloads import Context, PayloadCodec
from rewake.signing.secret import Secret

POSTGRES = "postgres"
TRANSACTIONS = ("sqlite", POSTGRES)
"""The tables that make one write of what runs together."""
CALLS = ("get", "put", "update", "query", "due", "put_blob", "get_blob", "together", "dispatch")
BEFORE, TOLD_FAILED = "before", "told-failed"
CRASH_BEFORE, CRASH_AFTER, STALL = "crash-before", "crash-after", "stall"
CALL_FAULTS = (BEFORE, TOLD_FAILED, CRASH_BEFORE, CRASH_AFTER, STALL)
DISPATCH_FAULTS = (CRASH_BEFORE, CRASH_AFTER, STALL)
LOST, DOUBLED, LATE, EARLY = "lost", "doubled", "late", "early"
MESSAGE_FAULTS = (LOST, DOUBLED, LATE, EARLY)
PROCESS_FAULTS = (
    "released",
    "crash", "stall", "pause", "heart", "loop", "close", "skew", "jump", "blocked", "outage",
    "refused",
)  # fmt: skip

PEOPLE = ("cancel", "again", "kill", "pause", "fork", "rerun", "state")

ITEMS = {"F": "on a limit", "s": "on a state", "g": "on a gathered start"}
"""What is written beside runs, by the first letter of where it is, and whose faults are aimed."""

_REACH = {
    "get": 40, "put": 3, "update": 80, "query": 8, "due": 30, "put_blob": 2, "get_blob": 2,
    "together": 80, "dispatch": 20,
}  # fmt: skip
"""About how many calls of each kind a run makes, so that planned faults hit one."""


def kinds_of(call: str) -> tuple[str, ...]:
    """The faults that a call can have."""
    return DISPATCH_FAULTS if call == "dispatch" else CALL_FAULTS


_BEGINNING = {("put", "H"), ("together", "")}
"""Writes by which a run begins: who is told that it failed has it, and does not know."""


@dataclass(slots=True)
class Chaos:
    """The faults of one simulation.

    `planned` strikes the n-th call of a kind (`update`, or `update H`: of a header); `rate` is the
    chance of any call to have one, as long as the `budget` lasts; during an `outage` (two moments,
    in seconds) every call fails, and with `whole` none does anything; `messages` is the chance of
    each message fault, `slow` that of a call to take its time, and `stalls` how long a process
    stands still. After `until` nothing goes wrong any more; `last` is when something last did.
    `on`: the faults of calls about `ITEMS`.
    """

    random: random.Random
    planned: dict[tuple[str, int], str] = field(default_factory=dict)
    rate: float = 0.0
    budget: int = 0
    outage: tuple[float, float] | None = None
    messages: float = 0.0
    whole: bool = False
    stalls: float = 9.0
    slow: float = 0.0
    until: float = 60.0
    calls: Counter[str] = field(default_factory=Counter)
    finer: Counter[str] = field(default_factory=Counter)
    fired: Counter[tuple[str, str]] = field(default_factory=Counter)
    on: Counter[tuple[str, str]] = field(default_factory=Counter)
    last: float = 0.0
    shared: int = 0
    """How many of the fired faults were those of an outage, which all processes met."""

    def of_call(
        self,
        call: str,
        now: float,
        *,
        letter: str = "",
        can_stall: bool = True,
        refused: bool = False,
    ) -> str | None:
        """The fault of the next call of this kind, on this kind of item, if it has one.

        `refused`: the store refuses the process that calls.
        """
        finer = f"{call} {letter}"
        self.calls[call] += 1
        self.finer[finer] += 1
        if now > self.until:
            return None
        fault = self.planned.get((call, self.calls[call]))
        fault = fault or self.planned.get((finer, self.finer[finer]))
        out = self.outage is not None and self.outage[0] <= now < self.outage[1]
        if fault is None and (out or refused):
            undone = refused or self.whole
            fault = BEFORE if undone else self.random.choice((BEFORE, BEFORE, TOLD_FAILED))
            if call == "dispatch":
                fault = None
            elif not refused and not (fault == TOLD_FAILED and (call, letter) in _BEGINNING):
                self.shared += 1
        elif fault is None and self.budget and self.random.random() < self.rate:
            self.budget -= 1
            fault = self.random.choice(kinds_of(call))
        if fault == STALL and not can_stall:
            return None
        if fault is not None:
            self.count(call, fault, now)
            if letter in ITEMS:
                self.on[ITEMS[letter], fault] += 1
        return fault

    def of_message(self, now: float) -> str | None:
        """The fault of the next message, if it has one."""
        if now > self.until or not self.messages or self.random.random() >= self.messages:
            return None
        fault = self.random.choice(MESSAGE_FAULTS)
        self.count("message", fault, now)
        return fault

    def count(self, call: str, fault: str, now: float) -> None:
        """A fault happened."""
        self.fired[call, fault] += 1
        self.last = now

    def note(self, what: str) -> None:
        """Somebody asked for something, and was told that it is done: no mishap."""
        self.fired["people", what] += 1

    def refuse(self, now: float) -> float:
        """For how long the store will refuse, as from now: minutes."""
        length = self.random.choice((60.0, 120.0, 200.0))
        self.until = max(self.until, now + length)
        return length

    def break_down(self, now: float) -> None:
        """Let the store refuse everybody for minutes."""
        self.outage = (now, now + self.refuse(now))

    def lag(self) -> float:
        """How long a call takes on its way, in seconds; now and then long enough to reorder."""
        if not self.slow or self.random.random() >= self.slow:
            return 0.0
        return self.random.choice((0.002, 0.01, 0.05, 0.4))


AWAY = 0.03
"""The chance of a value to find its codec away."""


class FailingCodec:
    """A payload codec that is away now and then, until nothing goes wrong any more."""

    def __init__(
        self, codec: PayloadCodec, chaos: Chaos, seconds: Callable[[], float], seed: int
    ) -> None:
        self._encode, self.decode = codec.encode, codec.decode
        self._chaos, self._seconds = chaos, seconds
        self._random = random.Random(f"{seed}/codec")

    def encode(self, data: bytes, context: Context) -> bytes:
        """As the codec, if it is there."""
        now = self._seconds()
        if now <= self._chaos.until and self._random.random() < AWAY:
            self._chaos.count("codec", "away", now)
            raise ConnectionError("the key service does not answer")
        return self._encode(data, context)


def failing(secret: Secret, chaos: Chaos, seconds: Callable[[], float], seed: int) -> Secret:
    """The secret, whose codec is away now and then."""
    assert secret.codec is not None
    return secret.with_codec(FailingCodec(secret.codec, chaos, seconds, seed))


def aimed(chaos: Chaos, chance: random.Random, programs: str) -> None:
    """Plan some more faults, of calls about what programs have of what stands beside runs."""
    for letter, kind in (("F", "'limited'"), ("s", "'keyed'")):
        for _ in range(chance.choice((0, 1, 2)) if kind in programs else 0):
            call = chance.choice(("get", "update"))
            fault = chance.choice(kinds_of(call))
            chaos.planned[f"{call} {letter}", chance.randint(1, 8)] = fault


def calm(seed: int) -> Chaos:
    """Nothing goes wrong."""
    return Chaos(random.Random(seed), until=-1.0)


def chaos_of(chance: random.Random, *, transactions: bool, big: bool) -> Chaos:
    """A random plan, drawn from `chance`; with `big`, for a run that has large values."""
    chaos = Chaos(random.Random(chance.getrandbits(64)))
    chaos.slow = chance.choice((0.0, 0.1, 0.5))
    chaos.messages = chance.choice((0.0, 0.05, 0.2, 0.5))
    chaos.stalls = chance.choice((3.0, 7.0, 12.0))
    style = chance.randrange(6)
    if style < 4:
        unused = {"put_blob", "get_blob"} | (set() if transactions else {"together"})
        calls = [call for call in CALLS if call not in unused]
        for _ in range(chance.choice((1, 2, 4, 6))):
            call = chance.choice(("put_blob", "get_blob") if big else calls)
            number = chance.randint(1, 3) + int(chance.random() ** 2 * _REACH[call])
            chaos.planned[call, number] = chance.choice(kinds_of(call))
    elif style == 4:
        chaos.rate, chaos.budget = chance.choice((0.01, 0.04, 0.1)), chance.choice((4, 8, 12))
    else:
        start = chance.uniform(0, 12)
        chaos.outage = (start, start + chance.choice((0.3, 2.0, 8.0)))
    return chaos
