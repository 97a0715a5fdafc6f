"""`approval` and `wait_for_approval`: suspend until a person decides.

An approval is open, and its time counts, from the call of `approval()`, so that its links can be
handed on before the wait. How it is taken back: `rewake.authoring.waiting`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar, Unpack

import msgspec

from rewake.authoring.ballots import Action, Terms, Vote
from rewake.authoring.binding import Call
from rewake.authoring.forms import Form, filled_in, hidden_in_form, recorded_form
from rewake.authoring.linking import LinkFacts, link_of, new_facts, url_of
from rewake.authoring.notifying import (
    NotifyOptions,
    Plan,
    begin_notifying,
    plan_of,
    recorded_plan,
)
from rewake.authoring.policy import Seconds, positive
from rewake.authoring.quorum import Group, terms_asked
from rewake.authoring.task import Task
from rewake.authoring.waiting import OpenWait
from rewake.errors import (
    CheckpointUnreadable,
    InvalidInput,
    NonDeterminismError,
    NotInARun,
    UsageError,
)
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import LATEST, Millis, Outcome, Value
from rewake.replay.execution import Execution, current
from rewake.replay.operation import OpenOp, OpFuture, operation
from rewake.replay.program import Codec
from rewake.signing.links import LinkUse

LONGEST_REASON: Final = 1_000
"""The most characters of what is said where an approval is withdrawn."""
GOOD_FOR: Final[Millis] = 30 * 24 * 3_600_000
"""How long the links of an approval without a time-out are good, in milliseconds."""


class Decision(StrEnum):
    """How a wait for an approval ended."""

    APPROVED = "approved"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"


class Approval(msgspec.Struct, frozen=True):
    """The decision on an approval, its maker, and the form as filled in (JSON data, or None).

    Where the form is a type, `value` is of it. `decision` tells a rejection from a time-out;
    `approved` is true only of an approval. Where several decide, `value` and `approver` are of who
    gave the vote that decided, which is the last of `decisions`.
    """

    decision: Decision
    value: Any = None
    approver: str | None = None
    comment: str | None = None
    decisions: tuple[Vote, ...] = ()

    @property
    def approved(self) -> bool:
        """Whether it was approved."""
        return self.decision is Decision.APPROVED


class PendingApproval(OpenWait):
    """An approval that is open. `await` it for the decision; `links` are for who decides.

    The wait may be awaited again, also by several branches. Cancelling one of them withdraws the
    approval, unless it awaits `asyncio.shield(…)` of it.
    """

    def __init__(self, execution: Execution, name: str, future: asyncio.Future[Any]) -> None:
        super().__init__(execution, future, f"the approval {name!r}")

    def __await__(self) -> Generator[Any, None, Approval]:
        return self._wait()

    @property
    def links(self) -> dict[str, str]:
        """By approver, the link that opens the page for them; empty if none were named."""
        return {each: self._link(each, "") for each in self._recorded()[1]}

    def link(self, approver: str | None = None, action: str | None = None) -> str:
        """The link for one approver; with an `action` (`approve`, `reject`) it allows only that.

        Without approvers there is one link, for whoever has it.

        Raises:
            UsageError: no such approver or action; or there are several and none is said.
        """
        if action is not None and action not in list(Action):
            raise UsageError(f"a link can only approve or reject, and not {action!r}")
        approvers = self._recorded()[1]
        if approver is None and len(approvers) > 1:
            raise UsageError(f"say for whom the link is: {', '.join(approvers)}")
        if approver is not None and approver not in approvers and not self._execution.loop.dead:
            known = ", ".join(approvers) or "nobody: it was asked for without approvers"
            raise UsageError(f"{approver!r} is not asked for this approval, but {known}")
        holder = approver if approver is not None else (approvers or [""])[0]
        return self._link(holder, action or "")

    def cancel(self, reason: str = "") -> None:
        """Withdraw it, unless it was decided: its links then say so, and the `reason` if any."""
        if self._op is not None:
            self._op.why = str(reason)[:LONGEST_REASON]
        super().cancel()

    def _begin(self, notify: Task[Any, Any] | None) -> PendingApproval:
        """Let people be told of it; and let it be noticed if nobody awaits it."""
        link = functools.partial(self._link, action="")
        begin_notifying(self._execution, self._future, notify, self._asked, link)
        self._stand_alone()
        return self

    def _link(self, holder: str, action: str) -> str:
        op, execution, facts = self._op, self._execution, self._recorded()[0]
        if op is None:
            return ""
        if facts is None:
            told = f"{op.key}: the code reads a link of it, and it was asked for without links"
            execution.halt(error := NonDeterminismError(told, key=op.key))
            raise error
        # Asked for where no address was known, it has the one that is known when it is read.
        facts = msgspec.structs.replace(facts, base=facts.base or execution.links.base)
        return url_of(
            execution,
            facts,
            link_of(facts, LinkUse.APPROVE, execution.run, op.key, holder=holder, action=action),
        )

    def _recorded(self) -> tuple[LinkFacts | None, list[str]]:
        """The facts of its links, and who is asked from the start."""
        asked = self._asked()
        recorded, later = asked.get("link"), asked.get("notify", {}).get("to", ())
        facts = None if recorded is None else msgspec.convert(recorded, LinkFacts)
        return facts, [each for each in asked.get("approvers") or [] if each not in later]

    def _asked(self) -> dict[str, Any]:
        """What is recorded of it."""
        if (op := self._op) is None or op.args is None:
            return {}
        codec = self._execution.codec
        asked: dict[str, Any] = codec.decode(op.args, key=op.key, purpose=Purpose.APPROVAL)
        return asked

    @property
    def _op(self) -> OpenOp | None:
        """What was asked for; None in an instance that was dropped, where nothing has an effect."""
        return self._future.op if isinstance(self._future, OpFuture) else None


def approval(
    name: str = "approval",
    /,
    *,
    form: Form | None = None,
    description: str | None = None,
    approvers: Sequence[str | Group] = (),
    quorum: int = 1,
    reject: str = "any",
    self_approval: bool = True,
    timeout: Seconds | None = None,
    binds: Call[Any] | None = None,
    **notifying: Unpack[NotifyOptions],
) -> PendingApproval:
    """Ask for an approval, which is open from now on, also before it is awaited.

        ask = approval("refund", description="Refund 120 EUR?", approvers=["ann@example.com"])
        await mail(ask.links)
        answer = await ask

    `form`: a JSON Schema, a property map, or a type, which `answer.value` is then of; an answer
    that does not fit is refused. `approvers`: people, or groups (`group`), each of whom gets a link
    of their own; `quorum` of them must approve. `reject`: `any` rejection rejects, or only what
    leaves no hope (`majority`). With `self_approval=False` who started the run is not asked. A link
    is good until the time-out, or for 30 days. `binds`: the one call that it is for (`bind`), whose
    arguments are its form, where one person decides. `notify`, `remind_every`, `escalate_after`,
    `escalate_to`: who tells people of it, and when (`NotifyOptions`). The rest is as with
    `wait_for_approval`.

    Raises:
        NotInARun: outside a run.
        UsageError: the form is none, too few are asked, or not by distinct texts, or options do not
            fit.
        ValueError: a duration is not positive.
    """
    if binds is not None and form is not None:
        raise UsageError("binds= makes the form of the arguments of its call: leave form= out")
    terms = functools.partial(terms_asked, approvers, quorum, reject, self_approval=self_approval)
    plan = plan_of(notifying, approvers)
    more = _More(terms, linked=True, plan=plan, binds=binds, editable=quorum == 1)
    asked = _ask("approval", name, form, description, timeout, more)
    return asked._begin(notifying.get("notify"))


@operation
async def wait_for_approval(
    name: str = "approval",
    /,
    *,
    form: Form | None = None,
    description: str | None = None,
    timeout: Seconds | None = None,
) -> Approval:
    """Suspend until somebody approves or rejects, or `timeout` (seconds, `timedelta`) is over.

        answer = await wait_for_approval(description="Deploy?", timeout=timedelta(days=2))
        if answer.approved: ...

    Several may be open at once and are decided in any order; `name` tells them apart. `form` (a
    JSON Schema, properties, or a type) and `description` are shown to the person. A decision
    that was made before the time was over counts, even if the run observes it later.

    Raises:
        NotInARun: outside a run.
        UsageError: the form is none.
        ValueError: `timeout` is not positive.
    """
    return await _ask("wait_for_approval", name, form, description, timeout, _More())


class _More(NamedTuple):
    """What `approval()` alone asks with. `linked`: what can make its links is recorded with it.

    `editable`: whether who decides may change the arguments of a call that it binds. Where several
    do, they must have approved the same.
    """

    terms: Callable[[], Terms] = Terms
    linked: bool = False
    plan: Plan | None = None
    binds: Call[Any] | None = None
    editable: bool = True


def _ask(
    function: str,
    name: str,
    form: Form | None,
    description: str | None,
    timeout: Seconds | None,
    more: _More,
) -> PendingApproval:
    """Ask for it."""
    execution = current()
    if execution is None:
        raise NotInARun(f"{function}() needs a run; in a test, supply the answer instead")
    limit = positive("timeout", timeout)
    codec, due = execution.codec, None if limit is None else execution.machine + limit
    if (binds := more.binds) is not None:
        taken = binds.taken()
        form = taken if more.editable else None
    future = execution.request(
        Kind.APPROVAL,
        name,
        digest="" if binds is None else binds.digest(codec),
        due=due,
        args=functools.partial(_encoded, execution, form, description, due, more),
        compare=None if binds is None else functools.partial(binds.compare, codec),
        resolve=functools.partial(_resolve, codec, form),
    )
    if binds is not None:
        binds.wait_for(execution, future)
    return PendingApproval(execution, name, future)


def _encoded(
    execution: Execution,
    form: Form | None,
    description: str | None,
    due: Millis | None,
    more: _More,
    key: str,
) -> Value:
    """What is recorded of it. Only what is new is found out and checked: the recorded stands."""
    shown: dict[str, Any] = {"form": recorded_form(form), "description": description}
    if more.binds is not None:
        shown["binds"] = more.binds.shown
    if more.linked:
        expires = execution.machine + GOOD_FOR if due is None else min(due, LATEST)
        shown["link"] = msgspec.to_builtins(new_facts(execution, key, expires))
    terms = more.terms()
    shown |= terms.recorded()
    shown |= recorded_plan(more.plan, terms)
    if hidden := hidden_in_form(form):
        shown["hidden"] = list(hidden)
    return execution.codec.encode(shown, key=key, purpose=Purpose.APPROVAL)


def _resolve(codec: Codec, form: Form | None, key: str, outcome: Outcome) -> Approval:
    if outcome.kind is OutcomeKind.TIMEOUT and outcome.value is None:
        return Approval(Decision.TIMED_OUT)
    if outcome.value is None:
        raise CheckpointUnreadable(f"the decision on {key!r} is missing ({outcome.kind})")
    decided = codec.decode(outcome.value, key=key, purpose=Purpose.APPROVAL)
    found = msgspec.convert(decided, Approval)
    typed = functools.partial(_typed, form)
    try:
        votes = tuple(typed(vote, vote.action is Action.APPROVE) for vote in found.decisions)
        return msgspec.structs.replace(typed(found, found.approved), decisions=votes)
    except InvalidInput as error:
        told = f"the answer to {key!r} fits the form's schema and not its type: {error}"
        raise InvalidInput(told, field=error.field) from None


Answer = TypeVar("Answer", Approval, Vote)


def _typed(form: Form | None, answer: Answer, approved: bool) -> Answer:
    """The answer with its value as what the form says; who rejects need fill in nothing."""
    if answer.value is None and not approved:
        return answer
    return msgspec.structs.replace(answer, value=filled_in(form, answer.value))
