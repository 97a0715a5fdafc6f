"""`approval` and `wait_for_approval`: suspend until a person decides.

An approval is open, and its time counts, from the call of `approval()`, so that its links can be
handed on before the wait. It is withdrawn by cancelling it or its wait, by the end of the workflow,
and with the branch that asked for it: one that failed or was cancelled takes back what nobody
awaits, for nobody may know of it any more.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from rewake.authoring.ballots import Action, Terms, Vote
from rewake.authoring.forms import Form, filled_in, recorded_form
from rewake.authoring.linking import LinkFacts, link_of, new_facts, url_of
from rewake.authoring.policy import Seconds, millis, seconds
from rewake.authoring.quorum import Group, terms_asked
from rewake.errors import (
    CheckpointUnreadable,
    InvalidInput,
    NonDeterminismError,
    NotInARun,
    UsageError,
)
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import LATEST, Millis, Outcome
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


class PendingApproval:
    """An approval that is open. `await` it for the decision; `links` are for who decides.

    The wait may be awaited again, also by several branches. Cancelling one of them withdraws the
    approval, unless it awaits `asyncio.shield(…)` of it.
    """

    def __init__(self, execution: Execution, name: str, future: asyncio.Future[Any]) -> None:
        self._execution = execution
        self._name = name
        self._future = future
        self._is_awaited = False

    def __await__(self) -> Generator[Any, None, Approval]:
        self._is_awaited = True
        if self._future.cancelled() and not self._execution.loop.dead:
            raise UsageError(
                f"the approval {self._name!r} was withdrawn when its wait was cancelled: it cannot "
                "be awaited again; await asyncio.shield() of it where it shall stay open"
            )
        return self._future.__await__()

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
        self._is_awaited = True
        if self._op is not None:
            self._op.why = str(reason)[:LONGEST_REASON]
        self._future.cancel()

    @property
    def forgotten(self) -> str:
        """What it is, if nobody awaited or cancelled it."""
        passed_over = not (self._is_awaited or self._future.cancelled())
        return f"the approval {self._name!r}" if passed_over else ""

    def _stand_alone(self) -> PendingApproval:
        """Let it be noticed if nobody awaits it, as a plain wait is at once."""
        self._execution.mistakes.opened(self)
        branch = self._execution.loop.current_branch()
        if branch is not None and branch.scope.path:  # with the workflow itself, all is withdrawn
            # Not by the branch's own method: it is not awaited by this.
            asyncio.Task.add_done_callback(branch, self._branch_ended)
        return self

    def _branch_ended(self, branch: asyncio.Task[Any]) -> None:
        # `exception()` would mark the exception as seen.
        failed = branch.cancelled() or branch._exception is not None
        if failed and not self._is_awaited:
            self._future.cancel()

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
        """The facts of its links, and its approvers."""
        if (op := self._op) is None or op.args is None:
            return None, []
        codec = self._execution.codec
        asked = codec.decode(op.args, key=op.key, purpose=Purpose.APPROVAL)
        recorded = asked.get("link")
        facts = None if recorded is None else msgspec.convert(recorded, LinkFacts)
        return facts, asked.get("approvers") or []

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
) -> PendingApproval:
    """Ask for an approval, which is open from now on, also before it is awaited.

        ask = approval("refund", description="Refund 120 EUR?", approvers=["ann@example.com"])
        await mail(ask.links)
        answer = await ask

    `form`: a JSON Schema, a property map, or a type, which `answer.value` is then of; an answer
    that does not fit is refused. `approvers`: people, or groups (`group`), each of whom gets a link
    of their own; `quorum` of them must approve. `reject`: `any` rejection rejects, or only what
    leaves no hope (`majority`). With `self_approval=False` who started the run is not asked. A link
    is good until the time-out, or for 30 days. The rest is as with `wait_for_approval`.

    Raises:
        NotInARun: outside a run.
        UsageError: the form is none, or too few are asked, or not by distinct texts.
        ValueError: `timeout` is not positive.
    """
    terms = functools.partial(terms_asked, approvers, quorum, reject, self_approval=self_approval)
    asked = _ask("approval", name, form, description, timeout, terms, linked=True)
    return asked._stand_alone()


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
    return await _ask("wait_for_approval", name, form, description, timeout, Terms, linked=False)


def _ask(
    function: str,
    name: str,
    form: Form | None,
    description: str | None,
    timeout: Seconds | None,
    terms: Callable[[], Terms],
    *,
    linked: bool,
) -> PendingApproval:
    """Ask for it. `linked`: what can make its links is recorded with it."""
    execution = current()
    if execution is None:
        raise NotInARun(f"{function}() needs a run; in a test, supply the answer instead")
    if timeout is not None and seconds(timeout) <= 0:
        raise ValueError("timeout must be more than 0")
    codec, due = execution.codec, None if timeout is None else execution.machine + millis(timeout)

    def encoded(key: str) -> Any:
        # Only what is new is checked and found out: what was recorded stands.
        shown: dict[str, Any] = {"form": recorded_form(form), "description": description}
        if linked:
            expires = execution.machine + GOOD_FOR if due is None else min(due, LATEST)
            shown["link"] = msgspec.to_builtins(new_facts(execution, key, expires))
        shown |= terms().recorded()
        return codec.encode(shown, key=key, purpose=Purpose.APPROVAL)

    future = execution.request(
        Kind.APPROVAL, name, due=due, args=encoded, resolve=functools.partial(_resolve, codec, form)
    )
    return PendingApproval(execution, name, future)


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
