"""Watches every write that took effect, and says at once when a promise is broken.

- A process that was marked dead renews no more; nothing that names a process is taken before that.
- The header: epoch, count, arrivals and clock never go back; an ended run never changes its mind;
  only the process that claimed the run commits to it; nobody claims it from a live holder.
- The history only grows; nothing is observed that was not asked for, or twice, or before its
  outcome is stored; a timer asked for once clocks are right takes no longer than it should.
- An operation's outcome is set once and stays; a task is claimed only if the history asks for it.
- Custody: whatever is open has somebody who will look, after every single write.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from rewake.engine.runs.runs import LONGEST_REASON
from rewake.keyed import State
from rewake.kinds import Kind
from rewake.ledger import Join, Limit, Process
from rewake.records import (
    CancelRequested,
    Chunk,
    ClockSetBack,
    Completed,
    Entry,
    Event,
    Finished,
    Fired,
    Header,
    Logged,
    Operation,
    Retried,
    Scheduled,
    ScheduledRun,
    Signalled,
    Started,
    Stepped,
    Withdrawn,
)
from rewake.states import RunState, may_become
from rewake.stores.generations import generation, place_of
from rewake.stores.history import of_round
from rewake.stores.keys import CACHED_OF, CHUNKS, OPERATIONS, SIGNALS, forking_key, run_of
from rewake.stores.table import Key, When, Written, holds
from tests.simulation.beating import Progress, reading
from tests.simulation.circling import Circles
from tests.simulation.doors import Doors
from tests.simulation.fanning import Joins
from tests.simulation.kindred import tells, untold
from tests.simulation.known import Run
from tests.simulation.lapping import may_go
from tests.simulation.limiting import Limits, is_let_in
from tests.simulation.stating import States

if TYPE_CHECKING:
    from tests.simulation.world import Replica, World

LATE = 15.0
"""Seconds after which a timer is too late, by any clock; a sweep comes sooner."""
AWAKE = 0.1
"""Seconds after a pause in which a process goes on with what it had just found to be its own."""
KILLED = 6.0
"""Seconds after a kill in which a process that can hear of it has done so: a beat, and no more."""
ROUNDS = 12
"""How often no run must be retried before it succeeds."""
LONGEST = 10.0
"""Seconds: no program sleeps for longer, and sees the end of it."""
AWAITED = tuple(kind for kind in Kind if kind.traits.awaited)
_WITH_PEOPLE = (RunState.STUCK, RunState.PAUSED)
"""States in which somebody has to let a run go on."""
_encode = msgspec.json.Encoder().encode


def _lasting(entry: Entry) -> Entry:
    """An entry without what a retry may change of it: the round, a deadline, a cancelled child."""
    if not isinstance(entry, Scheduled):
        return entry
    child = {"other": None} if isinstance(entry, ScheduledRun) else {}
    return msgspec.structs.replace(entry, round=0, due=None, **child)


class Watch:
    """`broken` collects the promises that were broken, the first one first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chunks: dict[Key, Chunk] = {}
        self._holders: dict[str, Replica] = {}
        self._arguments: dict[tuple[str, str], Any] = {}
        self._processes: dict[str, Process] = {}
        self._copied: defaultdict[str, dict[str, Operation]] = defaultdict(dict)
        self._apart: dict[tuple[str, str], Replica] = {}
        self._running: dict[tuple[str, str, str], asyncio.Task[Any]] = {}
        self.runs: dict[str, Run] = {}
        self.limits, self.states = Limits(jumpy=world.jumpy), States()
        self.beats, self.doors = Progress(reading(world.secret), world.chaos), Doors(world)
        self.joins, self.circles = Joins(), Circles(self.runs, self.limits)
        self.made: set[tuple[str, int]] = set()
        self.numbers: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self.broken: list[str] = []

    def fail(self, what: str) -> None:
        """A promise is broken."""
        self.broken.append(f"[{self._world.seconds:.3f}s] {what}")
        self._world.trace("!!", what, "", "")

    def _judge(self, wrong: str) -> None:
        if wrong:
            self.fail(wrong)

    def began(self, run: str, key: str, argument: Any, attempt: int) -> None:
        """A body began; with the same argument as any time before, and a number of its own."""
        if attempt in self.numbers[run, key]:
            self.fail(f"run {run}: {key} began twice as attempt {attempt}")
        self.numbers[run, key].add(attempt)
        if self._arguments.setdefault((run, key), argument) != argument:
            self.fail(f"run {run}: {key} began again with {argument}, another argument")

    def runs_here(self, replica: Replica, run: str, key: str) -> None:
        """A body began; no other of the same operation may be running in that process, nor may it
        begin once its run was killed, and its process could hear of that.
        """
        world, known = self._world, self.runs[run]
        killed_at, removed_at = known.killed_at, known.removed_at
        late = world.seconds - max(killed_at or 0.0, replica.deaf_until)
        if killed_at is not None and not world.jumpy and late > KILLED:
            self.fail(f"run {run}: {key} began {late} s after it was killed")
        self._check_paused(replica, run, key)
        if removed_at is not None and world.seconds > max(removed_at, replica.deaf_until) + KILLED:
            self.fail(f"run {run}: {key} began, and the run is removed")
        if self._is_task(run, key):
            self._check_attempt(replica, self.runs[run].operations[key])
        in_loop = asyncio._get_running_loop() is not None  # a sync function is in none
        here, task = (replica.name, run, key), asyncio.current_task() if in_loop else None
        earlier = self._running.get(here)
        if earlier not in (None, task) and not (earlier.done() or earlier.cancelling()):
            self.fail(f"run {run}: {key} was begun beside itself in {replica.name}")
        if task is not None:
            self._running[here] = task

    def _check_paused(self, replica: Replica, run: str, key: str) -> None:
        """Nothing of a paused run begins, but what was being taken as it was paused."""
        paused_at, world = self.runs[run].paused_at, self._world
        if paused_at is None or world.jumpy:
            return
        if world.seconds > max(paused_at, replica.deaf_until) + KILLED:
            self.fail(f"run {run}: {key} began, and the run is paused")

    def _is_task(self, run: str, key: str) -> bool:
        operation = self.runs[run].operations.get(key)
        return operation is not None and operation.kind is Kind.TASK

    def _check_attempt(self, replica: Replica, operation: Operation) -> None:
        """It is claimed for this process, which serves it, and there is room for it."""
        world, name = self._world, f"run {operation.run}: {operation.key}"
        asked = self.runs[operation.run].open.get(operation.key)
        if asked is not None and asked.tag not in replica.served:
            self.fail(f"{name} began in {replica.name}, which does not serve {asked.tag!r}")
        # One that was withdrawn just now has no owner, and its attempt will be stopped.
        holder = self._holders.get(operation.owner, replica) if operation.owner else replica
        stood = world.jumpy or world.seconds - replica.paused_until < AWAKE
        if holder is not replica and not stood:
            self.fail(f"{name} began in {replica.name}, and {holder.name} has it")
        tasks = {
            task
            for (where, run, key), task in self._running.items()
            if where == replica.name and self._is_task(run, key)
            if not (task.done() or task.cancelling())
        }
        if len(tasks) >= world.settings.tasks:
            self.fail(f"{name} began beside {len(tasks)} others")

    def holder(self, run: str) -> Replica:
        """The process that holds a run."""
        return self._holders[self.runs[run].header.owner]

    def worker(self) -> Replica | None:
        """A process that lives and holds something, if there is one."""
        for run in self.runs.values():
            items: list[Header | Operation] = [run.header, *run.operations.values()]
            for item in items:
                holder = self._holders.get(item.owner) if item.owner else None
                if holder is not None and not holder.dead:
                    return holder
        return None

    def wrote(self, replica: Replica, key: Key, written: Written) -> None:
        """A write came back; if it took effect, look at what it did."""
        if not written.ok:
            return
        item = self._world.opened(key, written.item)
        if isinstance(item, Header):
            self._wrote_header(replica, item)
            self._judge(self.doors.wrote(self.runs[item.run]) or self.joins.closed(item))
        elif isinstance(item, Operation) and not self._is_late(item):
            self._wrote_operation(replica, item)
        elif isinstance(item, Process):
            self._wrote_process(item)
        elif isinstance(item, Limit | State):
            self._judge(self._wrote_beside(item))
        elif isinstance(item, Join):
            self._judge(self.joins.wrote(key, item))
        elif isinstance(item, Chunk) and self._chunks.setdefault(key, item) != item:
            self.fail(f"the chunk {key.sort} was overwritten with something else")
        if isinstance(item, Header | Operation):
            self._check_apart(replica, item)
        self._look_at(getattr(item, "run", ""))

    def _wrote_beside(self, item: Limit | State) -> str:
        if isinstance(item, Limit):
            return self.limits.wrote(item) or self.doors.limit(item)
        return self.states.wrote(item, self.runs)

    def _look_at(self, name: str) -> None:
        """Look at the custody of a run, and of the one that has begun it."""
        run = self.runs.get(name)
        if run is not None:
            self._custody(run)
            parent = run.header.parent
            if parent is not None and parent.run in self.runs:
                self._custody(self.runs[parent.run])

    def _check_apart(self, replica: Replica, item: Header | Operation) -> None:
        """A process has one suspect at a time that it says is apart."""
        here = (item.run, getattr(item, "key", ""))
        before = self._apart.pop(here, None)
        if not item.apart:
            return
        self._apart[here] = before or replica
        if before is None and [*self._apart.values()].count(replica) > 1:
            self.fail(f"run {here}: {replica.name} began it beside another suspect")

    # --- removal -----------------------------------------------------------------------------

    def removed(self, key: Key, when: When) -> None:
        """An item was removed, if `when` held: only of a run that was made a stone before."""
        if key.partition[:2] not in ("R#", "O#"):
            return
        run = self.runs.get(run_of(key))
        if run is None or not holds(when, run.header) or key == forking_key(run.header.run):
            return  # a fork is made, so the note that it is being made goes
        if run.header.state is not RunState.REMOVED:
            beside = key.sort.startswith((SIGNALS, CACHED_OF)) or self._is_spare(key, run.header)
            if beside or may_go(key, run.header):
                run.operations.pop(key.sort.removeprefix(OPERATIONS), None)
                return  # a signal is taken back that came as its run ended, and a note of a cache
            self.fail(f"run {run.header.run}: {key.sort} was removed, and it is {run.header.state}")
        run.gone = run.gone or key.sort == "H"

    def _is_spare(self, key: Key, header: Header) -> bool:
        """Whether it is part of a history that no header names, or does so no more."""
        name = header.base
        while name and name != key.sort:
            chunk = self._chunks.get(Key(key.partition, name))
            name = "" if chunk is None else chunk.previous
        return key.sort.startswith(CHUNKS) and not name

    def _became_a_stone(self, run: Run, new: Header) -> None:
        """Nothing of the run is in it; and somebody will look at it, or a newer run is there."""
        run.removed_at = self._world.removed(run) if run.removed_at is None else run.removed_at
        if new.tail or new.base or new.error or new.key or new.cancel or new.owner or new.digest:
            self.fail(f"run {new.run}: its stone has something of it")
        if new.due is None and not self._has_newer(new):
            self.fail(f"run {new.run}: it is removed in part, and nobody will go on")

    def _has_newer(self, stone: Header) -> bool:
        newer = self.runs.get(generation(stone.run, stone.floor)) if stone.floor else None
        return newer is not None and not newer.gone

    def _check_generation(self, new: Header) -> None:
        """The runs of a key are numbered without a gap, and one is not over at the most."""
        place = place_of(new.run)
        if place is None:
            return
        there = {
            number: run
            for run in self.runs.values()
            if not run.gone and (where := place_of(run.header.run)) and where[0] == place[0]
            for number in [where[1]]
        }
        live = [run.header.run for run in there.values() if not run.over]
        floor = there[1].header.floor if 1 in there else 0
        if live:
            self.fail(f"run {new.run} was begun beside {live}")
        if place[1] != max([0, floor - 1, *there]) + 1:
            self.fail(f"run {new.run} was begun behind {sorted(there)}, with the floor {floor}")

    # --- the header ------------------------------------------------------------------------

    def _wrote_header(self, replica: Replica, new: Header) -> None:
        run = self.runs.get(new.run)
        if run is None or run.gone:
            self._check_generation(new)
            run = self.runs[new.run] = Run(new, operations=self._copied.pop(new.run, {}))
            self.made.add((new.run, new.created))
            self._holders[new.owner] = replica
            self._grow(run, new)
            self._world.changed(run)
            return None
        old, run.header = run.header, new
        if new.lap.number > old.lap.number and new.state is RunState.RUNNING:
            self._goes_on_as_new(run, old, new)
        elif new.round > old.round:
            self._retried(run, old, new)
        self._check_change(old, new)
        if new.state is RunState.REMOVED:
            return self._became_a_stone(run, new)
        if new.owner and new.owner != old.owner:
            self._claimed(replica, old, new)
        if new.mark != old.mark and old.owner and self._holders.get(old.owner) is not replica:
            self.fail(f"run {new.run}: {replica.name} committed to what another process holds")
        if (new.base, new.tail, new.count) != (old.base, old.tail, old.count):
            self._grow(run, new)
        if run.over and run.killed_at is None and not isinstance(run.entries[-1], Finished):
            run.killed_at = self._world.seconds
        run.note_pause(self._world.seconds)
        if new.state != old.state or new.count != old.count:
            self._world.changed(run)
        return None

    def _check_change(self, old: Header, new: Header) -> None:
        name, mishaps = f"run {new.run}", self._world.mishaps()
        for counter in ("epoch", "round", "count", "arrivals", "clock", "cancels"):
            cut = counter in ("count", "cancels") and new.round > old.round
            cut = cut or new.state is RunState.REMOVED
            if getattr(new, counter) < getattr(old, counter) and not cut:
                self.fail(f"{name}: {counter} went back")
        if old.answer and new.answer != old.answer and new.state is not RunState.REMOVED:
            self.fail(f"{name}: it answered its caller twice")
        if new.pause and new.state is not RunState.RUNNING:
            self.fail(f"{name}: it is {new.state}, and its holder is asked to pause it")
        if new.state is not old.state and not may_become(old.state, new.state):
            self.fail(f"{name}: it was {old.state} and became {new.state}")
        if new.strikes > mishaps:
            self.fail(f"{name}: {new.strikes} strikes, after {mishaps} mishaps")
        texts = len(_encode(new.error)) + len(_encode(new.cancel or ""))
        if len(_encode(new)) > 1024 + texts or len(_encode(new.cancel or "")) > LONGEST_REASON + 2:
            self.fail(f"{name}: its header has {len(_encode(new))} bytes")

    def _goes_on_as_new(self, run: Run, old: Header, new: Header) -> None:
        """Another lap begins, whose history has nothing of the one before but what that said."""
        after = (old.lap.number + 1, old.round + 1, old.epoch, old.owner)
        if (new.lap.number, new.round, new.epoch, new.owner) != after:
            self.fail(f"run {new.run}: lap {old.lap.number} became {new.lap.number}")
        run.cut += len(run.entries)
        run.entries, run.encoded, run.open, run.closed = [], [], {}, set()
        run.logged, run.cancels = 0, 0
        run.timers.clear()
        self._grow(run, new)
        [begun, *said] = run.entries
        if not isinstance(begun, Started) or not all(isinstance(e, Logged) for e in said):
            self.fail(f"run {new.run}: lap {new.lap.number} begins with {run.entries}")
        run.logged = 0

    def _retried(self, run: Run, old: Header, new: Header) -> None:
        """What is left of the history of a failed run is as it was, but for what begins anew."""
        if (old.state, new.round) != (RunState.FAILED, old.round + 1):
            self.fail(f"run {new.run}: it was {old.state}, and its round became {new.round}")
        if new.round > ROUNDS:
            self.fail(f"run {new.run}: it fails however often it is retried")
        before = run.entries
        run.cut += len(before)
        run.heard -= {entry.signal for entry in before if isinstance(entry, Signalled)}
        run.entries, run.encoded, run.open, run.asked, run.closed = [], [], {}, set(), set()
        run.clock, run.logged, run.cancelled, run.cancels = 0, 0, False, 0
        self._grow(run, new)
        run.timers.clear()
        marks = [i for i, entry in enumerate(run.entries) if isinstance(entry, Retried)]
        kept = run.entries[: marks[-1]] if marks else []
        if [_lasting(entry) for entry in kept] != [_lasting(each) for each in before[: len(kept)]]:
            self.fail(f"run {new.run}: its retry changed what was recorded before its error")

    def _claimed(self, replica: Replica, old: Header, new: Header) -> None:
        self._holders[new.owner] = replica
        if not replica.served.untagged:
            self.fail(f"run {new.run}: {replica.name} carries it on, and serves tags alone")
        if new.epoch <= old.epoch:
            self.fail(f"run {new.run}: claimed without raising its epoch")
        if old.state is RunState.RUNNING:
            self._check_taken(f"run {new.run}", old)
        late = self._world.true_now() + self._world.settings.skew * 3 // 2
        if old.state is RunState.DELAYED and (old.wake or 0) > late and not self._world.jumpy:
            self.fail(f"run {new.run}: it was to begin at {old.wake}, and began before")

    def _check_taken(self, name: str, old: Header | Operation) -> None:
        process = self._processes.get(old.process)
        if process is None and not self._over(old.lease):
            self.fail(f"{name} was taken from a holder whose lease is not over")
        if process is not None and not process.dead:
            self.fail(f"{name} was taken from a process that is not marked dead")

    def is_held(self, item: Header | Operation) -> bool:
        """Whether its holder's lease is not over, by a right clock."""
        process = self._processes.get(item.process)
        if process is None:
            return item.lease > self._world.true_now()
        return not process.dead and process.lease > self._world.true_now()

    def _wrote_process(self, new: Process) -> None:
        old = self._processes.get(new.name)
        self._processes[new.name] = new
        if old is None:
            return
        if old.dead and not new.dead:
            self.fail(f"the process {new.name} was marked dead, and renews its lease")
        if new.dead and not old.dead and not self._over(old.lease):
            self.fail(f"the process {new.name} was marked dead, and its lease is not over")

    def _over(self, lease: int) -> bool:
        """Whether a lease is over for its owner too, whose clock may be half the skew behind."""
        return self._world.jumpy or lease <= self._world.true_now() + self._world.settings.skew // 2

    # --- the history -----------------------------------------------------------------------

    def _grow(self, run: Run, header: Header) -> None:
        entries, name = list(header.tail), header.base
        while name:
            chunk = self._chunks.get(Key(f"R#{header.run}", name))
            if chunk is None:
                return self.fail(f"run {header.run}: it names the chunk {name}, which is not there")
            entries[:0] = chunk.entries
            name = chunk.previous
        encoded = [_encode(entry) for entry in entries]
        let_in = is_let_in(header, run.entries, entries)
        if encoded[: len(run.encoded)] != run.encoded and not let_in:
            self.fail(f"run {header.run}: its committed history changed")
        if let_in and isinstance(first := entries[0], Started):
            run.clock = first.clock  # it has begun nothing yet
        if len(encoded) != header.count:
            self.fail(f"run {header.run}: {len(encoded)} entries, and a count of {header.count}")
        for entry in entries[len(run.entries) :]:
            self._check_entry(run, entry)
        run.entries, run.encoded = entries, encoded
        return None

    def _check_entry(self, run: Run, entry: Entry) -> None:
        name = f"run {run.header.run}"
        if run.entries and isinstance(run.entries[-1], Finished):
            self.fail(f"{name}: its history goes on after its end")
        if isinstance(entry, Event):
            if entry.clock < run.clock and not isinstance(entry, ClockSetBack):
                self.fail(f"{name}: the clock of its history went back to {entry}")
            run.clock = entry.clock
        self._check_timer(run, entry)
        if isinstance(entry, Signalled):
            if entry.signal in run.heard:
                self.fail(f"{name}: the signal {entry.signal} was consumed twice")
            run.heard.add(entry.signal)
        self._follow(run, entry)

    def _check_timer(self, run: Run, entry: Entry) -> None:
        """What is asked for under right clocks, with no mishap since, is not late by a jump."""
        world = self._world
        if isinstance(entry, Scheduled) and entry.kind is Kind.TIMER and entry.due is not None:
            if world.is_calm():
                until = world.seconds + min((entry.due - run.clock) / 1000, LONGEST)
                run.timers[entry.key] = (until, world.chaos.last)
        elif isinstance(entry, Fired):
            until, last = run.timers.get(entry.key, (world.seconds, 0.0))
            undisturbed = last == world.chaos.last
            if not undisturbed and world.has_only_jumped():
                # It was open when a clock jumped, and begins again at most.
                until, undisturbed = max(until, world.chaos.last + LONGEST), True
            if undisturbed and world.seconds > until + LATE:
                self.fail(f"run {run.header.run}: {entry.key} is {world.seconds - until} s late")

    def _follow(self, run: Run, entry: Entry) -> None:
        name = f"run {run.header.run}"
        match entry:
            case Scheduled(key=key):
                if key in run.asked:
                    self.fail(f"{name}: {key} was asked for twice")
                run.asked.add(key)
                if not entry.kind.traits.at_once:
                    run.open[key] = entry
            case Completed(key=key):
                self._close(run, key)
                operation = run.operations.get(key)
                if operation is None or operation.outcome is None:
                    self.fail(f"{name}: {key} was observed, and has no stored outcome")
            case (
                Withdrawn(key=key)
                | Stepped(key=key, retry_at=None)
                | Fired(key=key)
                | Signalled(key=key)
            ):
                self._close(run, key, entry)
            case CancelRequested(number=number):
                run.cancelled, run.cancels = True, number
            case Logged(lines=lines):
                self._check_lines(run, [line.message for line in lines if line.level == "INFO"])
            case Finished():
                run.open.clear()

    def _check_lines(self, run: Run, lines: list[str]) -> None:
        """Its body logs lines that count: one that is lost or repeated is out of order."""
        expected = [str(run.logged + number) for number in range(len(lines))]
        run.logged += len(lines)
        if lines != expected:
            self.fail(f"run {run.header.run}: it logged {lines}, and not {expected}")

    def _close(self, run: Run, key: str, entry: Entry | None = None) -> None:
        if isinstance(entry, Fired) and entry.kind.traits.inline:
            return  # another try of it begins
        if run.open.pop(key, None) is None:
            self.fail(f"run {run.header.run}: {key} was closed, and was not open")
        run.closed.add(key)

    # --- operations ------------------------------------------------------------------------

    def _wrote_operation(self, replica: Replica, new: Operation) -> None:
        run = self.runs.get(new.run)
        if run is None:
            return self._copies(new)
        old, name = run.operations.get(new.key), f"run {new.run}: {new.key}"
        run.operations[new.key], run.writers[new.key] = new, replica
        if old is None and new.key not in run.asked and new.kind is not Kind.STEP:
            self.fail(f"{name} was touched before the history asked for it")
        old = self._of_round(run, old, new)
        if old is not None and old.outcome is not None:
            if (old.outcome, old.at) != (new.outcome, new.at):
                self.fail(f"{name}: its outcome changed from {old.outcome} to {new.outcome}")
            if new.owner:
                self.fail(f"{name} was claimed after it had an outcome")
        if old is not None and (new.lost < old.lost or new.attempts < old.attempts - 1):
            self.fail(f"{name}: its attempts went back")
        self._judge(self.beats.wrote(old, new))
        # An end that came too late for a cancellation loses a step that runs at most once.
        mishaps = self._world.mishaps() + run.header.cancels * (new.kind is Kind.STEP)
        if new.lost > mishaps + self.beats.silent[new.run, new.key]:
            self.fail(f"{name}: lost {new.lost} times, after {mishaps} mishaps")
        if new.owner and (old is None or new.owner != old.owner):
            self._holders[new.owner] = replica
            run.claims[new.key] += 1
            self._judge(self.limits.claimed(new))
            if old is not None and old.owner:
                self._check_taken(name, old)
        return self._judge(self.limits.given(new, run.open.get(new.key)) or self.circles.ended(new))

    def _is_late(self, new: Operation) -> bool:
        """Whether who stood still made it of a run that is removed: nothing of it may begin."""
        run = self.runs.get(new.run)
        return run is not None and run.removed_at is not None and new.outcome is None

    def _copies(self, new: Operation) -> None:
        """What a fork is made of is put before it is there: what has ended, held by nobody."""
        if new.outcome is None or new.owner or new.due:
            self.fail(f"{new.key}: an operation of a run that does not exist")
        self._copied[new.run][new.key] = new

    def _of_round(self, run: Run, old: Operation | None, new: Operation) -> Operation | None:
        """The item as it was before, if it was of the same round."""
        if old is None or new.round == old.round:
            return old
        if not old.round < new.round <= run.header.round or new.number < old.number:
            self.fail(f"run {new.run}: {new.key} is of round {new.round}, after {old.round}")
        return None

    def _covers(self, asked: Scheduled, item: Operation | None) -> bool:
        """Whether the run that an operation is about is there, and tells of its end by itself."""
        there = asked.about is not None and asked.about.run in self.runs
        return there and item is not None and item.covered

    # --- custody ---------------------------------------------------------------------------

    def _custody(self, run: Run) -> None:
        header = run.header
        if run.over and (wrong := untold(self.runs, header)):
            self.fail(f"custody: run {header.run}: {wrong}")
        if header.due is not None or run.over or header.state in _WITH_PEOPLE:
            return None
        name = f"run {header.run} ({header.state})"
        if header.state is not RunState.PARKED:
            return self.fail(f"custody: {name} is not due, and nobody will look at it")
        if header.cancel is not None and not run.cancelled:
            self.fail(f"custody: {name} is to be cancelled, and nobody will tell it")
        waiting = False
        for key, asked in run.with_custody:
            operation = of_round(run.operations.get(key), asked.round)
            settled = operation is not None and operation.outcome is not None
            guarded = operation is not None and operation.due is not None
            waiting = waiting or settled
            if not (asked.kind in AWAITED or asked.kind.traits.heard) or asked.due is not None:
                self.fail(f"custody: {name} waits for a moment ({key}), and is not due then")
            elif asked.kind.traits.dispatched and not (
                settled or guarded or self._covers(asked, operation)
            ):
                self.fail(f"custody: {name}: nobody looks after {key}")
        told = any(each.due is not None for each in run.operations.values())
        told = told or any(tells(self.runs, asked) for asked in run.open.values())
        if run.open and not told and all(map(run.has_outcome, run.open.values())):
            self.fail(f"custody: all that {name} waits for has ended, and nobody will wake it")
        if header.gap <= 0 and waiting and not told:
            self.fail(f"custody: {name} can go on, and nobody will wake it")
        return None
