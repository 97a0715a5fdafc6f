"""`notify=`: a task that tells people of an approval while it is open, and once more at its end.

`approval()` begins a branch of the workflow for it, which calls the task with a `Notice`, waits for
the next moment or for the end of the approval, and calls it again. So it is as durable as any
branch, under keys of its own (`refund:notify[0]/reminder.2`), and holds one timer while it waits.

    asked      at once: each approver's link
    reminder   `remind_every` after the last notice was out, to all who were told so far
    escalated  `escalate_after` the call of `approval()`: the links of `escalate_to`, who then
               belong to those who are told
    decided    once, to all who were told, also when its time was over
    withdrawn  once, to all who were told, also by the end of the run

- **One call at a time, in this order.** What is under way when the approval ends is finished first,
  then only the end is told. So `previous`, what the call before returned, is what a message was
  posted as, and a message can be rewritten. Moments that pass meanwhile, or while no process runs,
  are one reminder and not many.
- **What is recorded stands.** The moments, the people and the texts are recorded with the approval.
- **A call that failed for good**, its retries used up, is a warning in the log of the run. The
  approval stays open, and the next reminder is the next try. Was it the first call and are there no
  reminders, nobody will ever know of the approval: then it is taken back, and whoever awaits it
  gets the `TaskError`. `rewake runs retry` goes on from before it.
- **A retry of the run** may forget that people were told of the end, though they were. They are
  asked once more then, with the same links. What is told after a retry has keys of its own
  (`decided-1`), for it may be something else: a message is known by its call's idempotency key.
- **At the end of a run** the last notices go out before it ends, for at most `GRACE`: what is not
  out by then is given up, with a warning. A kill tells nobody.
- Links are good for 30 days where there is no time-out. Nobody is reminded with one that is over.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypedDict

import msgspec

from rewake.authoring.ballots import (
    LONGEST_APPROVER,
    Action,
    Terms,
    folded,
    is_name,
    moment_of,
)
from rewake.authoring.binding import call_text
from rewake.authoring.policy import Seconds, positive
from rewake.authoring.quorum import MOST_APPROVERS
from rewake.authoring.task import Task
from rewake.errors import StuckError, UsageError
from rewake.kinds import Kind
from rewake.records import LATEST, Millis, Retried
from rewake.replay.execution import Execution
from rewake.replay.operation import OpFuture
from rewake.values.failures import described

log = logging.getLogger("rewake.workflow")

GRACE: Final[Millis] = 60_000
"""How long the end of a run waits for the last notices, in milliseconds."""

MARK: Final = ":notify["
"""What the key of each operation has that tells of an approval."""


class NotifyOptions(TypedDict, total=False):
    """`notify`: a task that is called with a `Notice`, at once and whenever there is news.

    `remind_every`: how long after a notice the next reminder follows. `escalate_after`: how long
    after the call of `approval()` those of `escalate_to` are asked, too. Durations are seconds, or
    a `timedelta`.
    """

    notify: Task[Any, Any] | None
    remind_every: Seconds | None
    escalate_after: Seconds | None
    escalate_to: Sequence[str]


class NoticeKind(StrEnum):
    """What a notice is about."""

    ASKED = "asked"
    REMINDER = "reminder"
    ESCALATED = "escalated"
    DECIDED = "decided"
    WITHDRAWN = "withdrawn"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What the `notify=` task of an approval is called with.

    `links`: by person, of those whom this notice asks; without approvers one, under `""`. `people`:
    whom it is for, with or without a link. `number`: of a reminder, from 1. `until`: when the
    links are over. `call`: what is called if it is approved, of an approval that binds a call.
    `decision` (`approved`, `rejected`, `timed_out`), `approver` and `comment` are those of one that
    is decided, and `approvals` and `rejections` how many there were then. `quorum`: how many must
    approve. `previous`: what the task returned for the notice before.
    """

    kind: NoticeKind
    run: str
    key: str
    name: str
    until: dt.datetime
    description: str | None = None
    call: str = ""
    people: list[str] = []
    links: dict[str, str] = {}
    number: int = 0
    decision: str | None = None
    approver: str | None = None
    comment: str | None = None
    quorum: int = 1
    approvals: int = 0
    rejections: int = 0
    previous: Any = None

    @property
    def link(self) -> str:
        """The only link, or the first; empty if there is none."""
        return next(iter(self.links.values()), "")

    @property
    def over(self) -> bool:
        """Whether nobody is asked any more."""
        return self.kind in (NoticeKind.DECIDED, NoticeKind.WITHDRAWN)


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is recorded of the notices of an approval. `to`: who is asked once it is escalated."""

    every: Millis | None = None
    after: Millis | None = None
    to: list[str] = []


def plan_of(options: NotifyOptions, approvers: Sequence[object]) -> Plan | None:
    """The plan that the options make for an approval that is asked of these, None without a task.

    Raises:
        UsageError: they do not go together; `notify` is no task.
        TypeError: the task does not take a notice.
        ValueError: a duration is not positive.
    """
    task, to = options.get("notify"), options.get("escalate_to", ())
    every, after = options.get("remind_every"), options.get("escalate_after")
    if task is None:
        if given := [name for name, value in options.items() if value not in (None, (), [])]:
            raise UsageError(f"{given[0]}= needs notify=, a task that is called then")
        return None
    if not isinstance(task, Task):
        raise UsageError(f"notify= is a @task that is called with a Notice, and not {task!r}")
    task.arguments((None,), {})
    if bool(to) != (after is not None):
        raise UsageError("escalate_after= and escalate_to= go together: when, and whom to ask then")
    if isinstance(to, str) or not all(map(is_name, to)) or len({*map(folded, to)}) < len(to):
        told = f"each of at most {LONGEST_APPROVER} bytes, and none of them twice"
        raise UsageError(f"escalate_to is a list of texts, such as addresses, {told}")
    if to and not approvers:
        raise UsageError("escalate_to= needs approvers=: else whoever has the link is asked")
    return Plan(positive("remind_every", every), positive("escalate_after", after), list(to))


def recorded_plan(plan: Plan | None, terms: Terms) -> dict[str, Any]:
    """What is recorded of a plan with an approval that has these terms from the start.

    Those of the escalation belong to its approvers, but for those who are asked already, and for
    who may not decide since they started the run. Raises `UsageError` if they are too many.
    """
    if plan is None:
        return {}
    asked = terms.approvers
    known = {folded(each) for each in asked}
    later = [each for each in plan.to if folded(each) not in known and not terms.bars(each)]
    if len(asked) + len(later) > MOST_APPROVERS:
        raise UsageError(
            f"an approval can be asked of at most {MOST_APPROVERS} people, later ones too"
        )
    plan = msgspec.structs.replace(plan, to=later, after=plan.after if later else None)
    people = {"approvers": [*asked, *later]} if later else {}
    return {**people, "notify": msgspec.to_builtins(plan)}


def begin_notifying(
    execution: Execution,
    future: asyncio.Future[Any],
    task: Task[Any, Any] | None,
    recorded: Callable[[], Mapping[str, Any]],
    link: Callable[[str], str],
) -> None:
    """Begin to tell of an approval, if its plan is among what is `recorded` of it."""
    if task is None or not isinstance(future, OpFuture) or execution.error is not None:
        return
    asked = recorded()
    if "notify" not in asked:
        return
    scope = execution.group(f"{future.op.name}{MARK[:-1]}").next()
    notifier = _Notifier(execution, future, task, asked, link, scope.path)
    branch = execution.spawn(notifier.run(), scope)
    branch.is_awaited = True  # it is nobody's mistake that it is left alone


class _Notifier:
    """Tells of one approval."""

    def __init__(
        self,
        execution: Execution,
        wait: OpFuture,
        task: Task[Any, Any],
        asked: Mapping[str, Any],
        link: Callable[[str], str],
        path: str,
    ) -> None:
        self._execution = execution
        self._wait = wait
        self._op = wait.op
        self._task = task
        self._asked = asked
        self._link = link
        self._path = path
        wait.on_retry = self._note_retry
        self._plan = msgspec.convert(asked["notify"], Plan)
        self._expires: Millis = asked["link"][-1]
        later = self._plan.to
        self._first = [each for each in asked.get("approvers") or [] if each not in later]
        self._is_begun = self._is_out = self._is_escalated = False
        self._reminders = self._retries = 0
        self._previous: Any = None
        self._again = execution.loop.create_future()
        self._grace: asyncio.Future[Any] | None = None

    async def run(self) -> None:
        """Tell what there is to tell, until the approval has ended and that is told."""
        try:
            while not self._wait.done():
                if (kind := await self._next()) is not None:
                    await self._tell(kind)
            if self._is_out:
                await self._tell_the_end()
        finally:
            if self._grace is not None:
                self._grace.cancel()

    # --- waiting ---------------------------------------------------------------------------

    async def _next(self) -> NoticeKind | None:
        """Wait until there is something to tell; None: the approval has ended."""
        due, kind = min(self._coming(), default=(LATEST, None))
        if due <= self._execution.machine:
            return kind
        timer = None
        if kind is not None and due < self._expires:
            timer = self._execution.request(Kind.TIMER, "wait", due=due)
        self._again = self._execution.loop.create_future()
        await self._until(self._wait, timer, self._again)
        if timer is None or not timer.done():
            kind = None
        if timer is not None:
            timer.cancel()
        return None if self._wait.done() else kind

    def _coming(self) -> Iterator[tuple[Millis, NoticeKind]]:
        """What may come next, and when."""
        now, plan = self._execution.machine, self._plan
        if not self._is_begun:
            yield now, NoticeKind.ASKED
        elif plan.every is not None:
            yield now + plan.every, NoticeKind.REMINDER if self._is_out else NoticeKind.ASKED
        if plan.after is not None and not self._is_escalated:
            yield self._op.asked_at + plan.after, NoticeKind.ESCALATED

    def _note_retry(self, event: Retried) -> None:
        self._retries += 1
        if any(key.startswith(self._path) for key in event.forgot):
            self._is_begun = False
            if not self._again.done():
                self._again.set_result(None)

    async def _until(self, *futures: asyncio.Future[Any] | None) -> None:
        """Wait for one of these. A cancellation is the end of the run, or of all branches.

        It takes the approval back, and begins the time that is left.
        """
        execution = self._execution
        waits = [each for each in (*futures, self._grace) if each is not None]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if self._grace is not None:
                raise
            self._wait.cancel()
            self._grace = execution.request(Kind.TIMER, "grace", due=execution.machine + GRACE)

    # --- telling ---------------------------------------------------------------------------

    async def _tell(self, kind: NoticeKind, **about: Any) -> None:
        """Call the task, and wait for its end."""
        self._is_begun = True
        self._is_escalated |= kind is NoticeKind.ESCALATED
        self._reminders += kind is NoticeKind.REMINDER
        label = f"{kind}-{self._retries}" if self._retries else str(kind)
        try:
            given = (self._notice(kind, **about),)
            call = self._task.request(self._execution, given, {}, label=label)
        except StuckError:
            raise
        except Exception as error:
            return self._failed(kind, error)
        while not (call.done() or (self._grace is not None and self._grace.done())):
            await self._until(call)
        if not call.done():
            call.cancel()
            self._warn(kind, "the run has ended, and it is given up")
        elif (failure := call.exception()) is not None:
            self._failed(kind, failure)
        else:
            self._is_out, self._previous = True, call.result()
        return None

    async def _tell_the_end(self) -> None:
        failed = self._wait.cancelled() or self._wait._exception is not None  # asking says: seen
        if failed:
            return await self._tell(NoticeKind.WITHDRAWN)
        answer = self._wait.result()
        about = {"approver": answer.approver, "comment": answer.comment}
        about["approvals"] = sum(vote.action is Action.APPROVE for vote in answer.decisions)
        about["rejections"] = len(answer.decisions) - about["approvals"]
        return await self._tell(NoticeKind.DECIDED, decision=str(answer.decision), **about)

    def _notice(self, kind: NoticeKind, **about: Any) -> Notice:
        people = [*self._first, *(self._plan.to if self._is_escalated else ())]
        asked = people or [""]
        if kind is NoticeKind.ESCALATED:
            people = asked = self._plan.to
        elif kind in (NoticeKind.DECIDED, NoticeKind.WITHDRAWN):
            asked = []
        return Notice(
            kind=kind,
            run=self._execution.run,
            key=self._op.key,
            name=self._op.name,
            until=moment_of(self._expires),
            description=self._asked.get("description"),
            call=call_text(binds) if (binds := self._asked.get("binds")) else "",
            quorum=self._asked.get("quorum", 1),
            people=people,
            links={each: self._link(each) for each in asked},
            number=self._reminders if kind is NoticeKind.REMINDER else 0,
            previous=self._previous,
            **about,
        )

    def _failed(self, kind: NoticeKind, error: BaseException) -> None:
        self._warn(kind, described(error))
        if not self._is_out and self._plan.every is None and not self._wait.done():
            self._execution.withdraw(self._op)
            self._wait.set_exception(error)

    def _warn(self, kind: NoticeKind, why: str) -> None:
        log.warning("the notice of the approval %r (%s) is not out: %s", self._op.name, kind, why)
