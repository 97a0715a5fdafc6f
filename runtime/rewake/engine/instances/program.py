"""A workflow as the replay core sees it: its body, and how its end becomes an outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from msgspec import Raw

from rewake.app import App
from rewake.authoring.hints import return_hint
from rewake.authoring.limits import Veil
from rewake.authoring.marking import hidden_in
from rewake.authoring.policy import millis
from rewake.authoring.quorum import Setting, setting
from rewake.authoring.workflow import Workflow
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Header, Millis, Outcome, Started, StartedAnew, Value
from rewake.replay.again import Continued
from rewake.replay.execution import Execution, current
from rewake.signing.links import Links
from rewake.signing.secret import Secret
from rewake.values.failures import failure_of
from rewake.values.run_codec import digests_of

_LIMIT = "key of a limit"
RUNTIME = 1
"""The version of the replay core's behaviour; a run keeps the version that it began under.

It is raised when replay would behave otherwise, and when something is written of a run that the
version before cannot read. `rewake.engine.turns.instance` refuses to replay a run of a higher
version.
"""


RETRY = "retry"
"""What the wait before a body begins anew is called in its key."""


class RunProgram:
    """A workflow as a `rewake.replay.program.Program`: that of this run.

    Raises `RunNotFound` if the app lacks it, `ReadableElsewhere` if the run's digests need a key
    that is not known here.
    """

    def __init__(self, app: App, header: Header, secret: Secret, url: str = "") -> None:
        self.codec = digests_of(secret, header)
        self.links = Links(secret, url)
        self.tenant, self.veil = header.tenant, veil_of(secret)
        self._app = app
        self._run, self._started = header.run, Started(0, Value("", Raw()))
        self._workflow: Workflow[Any, Any] = app.workflow(header.workflow)

    @property
    def package(self) -> str:
        module: str = self._workflow.function.__module__
        return module.partition(".")[0]

    def is_registered(self, task: object) -> bool:
        name = getattr(task, "name", "")
        return task in (self._app.tasks.get(name), self._app.workflows.get(name))

    def function_of(self, workflow: str) -> Callable[..., Any]:
        found = self._app.workflows.get(workflow)
        return _unknown if found is None else found.function

    async def body(self, started: Started) -> Any:
        execution, timeout = current(), self._workflow.timeout
        assert execution is not None
        self._started, begins = started, started.clock
        if isinstance(started, StartedAnew) and started.begins > begins:
            begins = started.begins
            await execution.request(Kind.TIMER, RETRY, due=begins)
        execution.end.set_deadline(None if timeout is None else begins + millis(timeout))
        setting.set(Setting(started.by, self._app.groups, started.scheduled))
        given = self.codec.decode(started.args, key="", purpose=Purpose.INPUT)
        return await self._workflow.call(self._workflow.arguments(given, strict=False))

    def again(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Value:
        given = self._workflow.recorded(self._workflow.named(args, kwargs))
        for trigger in self._workflow.cancel_on:
            trigger.texts_of(self._workflow.function, given)
        hidden = self._workflow.inputs.hidden
        return self.codec.encode(given, key="", purpose=Purpose.INPUT, hidden=hidden)

    def retried(self, error: BaseException, now: Millis) -> Continued | None:
        failed, policy = self._failed + 1, self._workflow.policy
        chance = Random(f"{self._run}/{self._started.lap.number}/{RETRY}").random()
        wait = policy.next(error, failed, elapsed=0, chance=chance)
        if wait is None:
            return None
        return Continued(self._started.args, failure_of(error, failed), now + millis(wait))

    @property
    def _failed(self) -> int:
        """How often the body has failed before."""
        failure = getattr(self._started, "failure", None)
        return 0 if failure is None else int(failure.attempts)

    def succeed(self, result: Any) -> Outcome:
        hint = return_hint(self._workflow.function)
        value = self.codec.encode(
            result, key="", purpose=Purpose.OUTPUT, hint=hint, hidden=hidden_in(hint)
        )
        return Outcome(OutcomeKind.OK, value=value)

    def fail(self, error: BaseException) -> Outcome:
        return Outcome(OutcomeKind.ERROR, origin=failure_of(error, self._failed + 1))


def _unknown() -> Any:
    """Stands for a workflow that the app lists no more: nothing is known of its result."""


def veil_of(secret: Secret) -> Veil:
    """Makes the digests of keys of limits, where values are encrypted; else all are empty.

    One key for all, unlike for arguments: who shares a limit has to find the same item.
    """
    if secret.codec is None:
        return lambda _: ""
    return lambda key: secret.sign(_LIMIT, key.encode()).hex()[:32]


def new_execution(app: App, header: Header, secret: Secret, url: str = "") -> Execution:
    """A new execution of this run, whose links live under `url`.

    Raises as `RunProgram` does.
    """
    program = RunProgram(app, header, secret, url)
    return Execution(program, run=header.run, seed=header.seed, round=header.round)
