"""Judges a run that has ended: is this how it would have ended with nothing going wrong?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rewake.engine.instances.program import new_execution
from rewake.kinds import Kind, OutcomeKind
from rewake.records import LATEST, Completed, Finished, Outcome, Scheduled, Stepped
from rewake.states import RunState
from rewake.stores.history import History
from rewake.stores.keys import forking_key
from rewake.stores.operations import MOST_TRIES
from rewake.stores.reads import Reads
from rewake.stores.sealing import behind_codec
from rewake.values.codecs import decode
from rewake.views.timeline import timeline
from tests.simulation import programs
from tests.simulation.answering import answer_of, asked_of
from tests.simulation.case import Case
from tests.simulation.generate import Err, strip
from tests.simulation.known import Run
from tests.simulation.lapping import what_is_left
from tests.simulation.showing import missaid
from tests.simulation.telling import what_is_wrong
from tests.simulation.voting import judge_votes
from tests.simulation.world import SECRET, World


class Judge:
    """`approved`: the approvals, by run and key, of which somebody was told that they stand.
    `voted`: by run, key and person, the votes of which somebody was told that they count.

    `cancelled`: the runs of which somebody was told that they will be cancelled; `killed`: that
    they are. `asked`: how often somebody asked for a run's cancellation.
    """

    def __init__(self, case: Case, world: World) -> None:
        self._case = case
        self._world = world
        self.approved: set[tuple[str, str]] = set()
        self.voted: set[tuple[str, str, str]] = set()
        self.cancelled: set[str] = set()
        self.killed: set[str] = set()
        self.asked: Counter[str] = Counter()

    async def judge(self, run: Run) -> None:
        """Look at everything that is left of a run."""
        name = run.header.run
        known = name in self._case.programs  # of others, other runs have begun them
        if run.header.state is RunState.STUCK or name in self._case.stuck:
            if (run.header.state is RunState.STUCK) != (name in self._case.stuck):
                self._fail(run, f"is {run.header.state}: {run.header.error}")
            return
        world = self._world
        reads = Reads(behind_codec(world.base, SECRET.codec), world.base)
        history = await reads.history(await reads.header(name))
        if run.killed_at is not None:
            self._judge_kill(run, history)
        elif not isinstance(history.entries[-1], Finished):
            self._fail(run, f"it is {run.header.state}, and its history has no end")
            return
        else:
            self._judge_replay(run, history)
            if known:
                self._judge_end(run, _end_of(history))
                await self._judge_answer(run)
        self._judge_operations(run, history)
        for wrong in await what_is_left(world, run.header):
            self._fail(run, wrong)
        for wrong in what_is_wrong(name, history, cancelled=run.cancelled or bool(run.killed_at)):
            self._fail(run, wrong)
        dues = [await world.base.due(LATEST, limit=50, tag=tag) for tag in world.tags]
        left = [due for found in dues for due in found if name in due.key.partition]
        left = [due for due in left if due.key != forking_key(name)]  # that it was made, an hour on
        if left:
            self._fail(run, f"it is over, and still due: {left}")

    def _fail(self, run: Run, what: str) -> None:
        self._world.watch.fail(f"run {run.header.run}: {what}")

    def _judge_replay(self, run: Run, history: History) -> None:
        """A cold replay of what was recorded is a fixed point."""
        header, end = run.header, _end_of(history)
        programs.WORLD.clear()
        app = self._world.app
        execution = new_execution(app, header, SECRET)
        try:
            execution.replay(history.entries, history.outcomes())
            again = execution.finished
            if execution.error is not None:
                self._fail(run, f"its history does not replay: {execution.error}")
            elif execution.fresh:
                self._fail(run, f"its replay goes on: {execution.fresh}")
            elif again is None or _plain(again, header.run) != _plain(end, header.run):
                self._fail(run, f"its replay ends as {again}, not {end}")
            elif wrong := missaid(header, execution):
                self._fail(run, wrong)
        finally:
            execution.drop()

    def _judge_kill(self, run: Run, history: History) -> None:
        """It ended as it stood, by somebody's wish, and all that it waited for is cancelled."""
        name = run.header.run
        if name not in self._case.kills:
            self._fail(run, "its history has no end, and nobody killed it")
        if run.header.state is not RunState.CANCELLED:
            self._fail(run, f"it was killed, and is {run.header.state}")
        for entry in history.awaited():
            item = history.operations.get(entry.key)
            if item is None or item.outcome is None:
                self._fail(run, f"it was killed, and {entry.key} is still open")

    def _judge_end(self, run: Run, outcome: Outcome) -> None:
        name = run.header.run
        if name in self.killed:
            self._fail(run, "somebody was told that it is killed, and it went on")
        if run.header.cancels != run.cancels:
            self._fail(run, f"of {run.header.cancels} requests to cancel it saw {run.cancels}")
        if run.header.cancels > self.asked[name]:
            self._fail(run, f"{self.asked[name]} requests to cancel are {run.header.cancels}")
        if name in self.cancelled and not run.cancelled:
            self._fail(run, "its cancellation was accepted, and ignored")
        elif run.cancelled and name not in self._case.cancels:
            self._fail(run, "it was cancelled by nobody")
        elif not run.cancelled and not self._is_right(outcome, name):
            _, right = self._case.programs[name]
            came_to = strip(_plain(outcome, name)) if outcome.value else outcome
            self._fail(run, f"it came to {came_to}, instead of {right}")
        # A cancelled run ends as cancelled, or as Python lets a body end that was done by then.

    async def _judge_answer(self, run: Run) -> None:
        """A run that came to its end has answered, if its program does, and nothing else."""
        program, _ = self._case.programs[run.header.run]
        told = await answer_of(self._world, run.header)
        asked = asked_of(program, failed=run.header.round > 0)
        if told != asked and (told is not None or run.header.state is RunState.DONE):
            self._fail(run, f"it answered {told}, instead of {asked}")

    def _is_right(self, outcome: Outcome, name: str) -> bool:
        _, right = self._case.programs[name]
        if not isinstance(right, Err):
            return outcome.kind is OutcomeKind.OK and strip(_plain(outcome, name)) == right
        if right.name == "timeout":
            return outcome.kind is OutcomeKind.TIMEOUT
        told = "" if outcome.failure is None else outcome.failure.traceback
        return outcome.kind is OutcomeKind.ERROR and f"boom {right.name}" in told

    def _judge_operations(self, run: Run, history: History) -> None:
        name, operations = run.header.run, history.operations
        for key, item in operations.items():
            if run.operations[key].at != item.at:
                self._fail(run, f"{key} changed unseen")
        for entry in run.entries:
            if isinstance(entry, Completed) and entry.key not in operations:
                self._fail(run, f"{entry.key} was observed, and its item is not found")
            elif isinstance(entry, Completed) and operations[entry.key].outcome is None:
                self._fail(run, f"{entry.key} was observed and has no outcome")
            if isinstance(entry, Scheduled):
                most, begun = self._most(run, entry), self._world.begun[name, entry.key]
                if begun > most:
                    self._fail(run, f"{entry.key} began {begun} times, and may only {most} times")
        self._judge_record(run, history)
        self._judge_votes(run, history)
        for key in [key for who, key in self.approved if who == name]:
            outcome = operations[key].outcome
            if outcome is None or outcome.kind is not OutcomeKind.OK:
                self._fail(run, f"{key} was decided, and is recorded as {outcome}")

    def _judge_votes(self, run: Run, history: History) -> None:
        """Who was told that their vote counts is among those who decided, once."""
        for entry in history.entries:
            if isinstance(entry, Scheduled) and entry.name.startswith("several-"):
                item = history.operations.get(entry.key)
                told = {p for r, k, p in self.voted if (r, k) == (run.header.run, entry.key)}
                wrong = "" if item is None else judge_votes(item, entry, told)
                if wrong or (told and item is None):
                    self._fail(run, f"{entry.key}: {wrong or 'nothing is kept of it'}")

    def _judge_record(self, run: Run, history: History) -> None:
        """Each attempt at a step that has ended is on record."""
        _, shown = timeline(history)
        ended = {e.key for e in history.entries if isinstance(e, Stepped) and e.retry_at is None}
        for operation in shown:
            if operation.key in ended:
                kept = {each.attempt for each in operation.tries}
                begun = self._world.watch.numbers[run.header.run, operation.key]
                if not begun <= kept and len(kept) <= MOST_TRIES:
                    self._fail(run, f"{operation.key}: of {begun} only {kept} are on record")

    def _most(self, run: Run, entry: Scheduled) -> int:
        """How often a body may have begun: once for each claim, and for each retry."""
        if entry.kind is not Kind.STEP:
            return run.claims[entry.key]
        program, _ = self._case.programs.get(run.header.run, ([], None))
        name = entry.key.rpartition("/")[2].partition(".")[0]
        rounds = run.header.round + 1
        once = _once(program).get(name)
        return run.header.epoch + 3 * rounds if once is None else once * rounds


def _once(node: Any) -> dict[str, int]:
    """How often the steps may begin that must begin at most once, or once a try."""
    if not isinstance(node, list):
        return {}
    if node[:1] == ["step"] and node[2].get("once"):
        return {node[1]: 1 + node[2].get("again", 0)}
    return {name: most for each in node for name, most in _once(each).items()}


def _plain(outcome: Outcome, run: str) -> Any:
    """An outcome as something to compare: its value, or how it failed."""
    if outcome.value is None:
        return (outcome.kind, outcome.failure and (outcome.failure.type, outcome.failure.message))
    return decode(outcome.value, secret=SECRET, run=run, key="", purpose="output")


def _end_of(history: History) -> Outcome:
    last = history.entries[-1]
    assert isinstance(last, Finished)
    return last.outcome
