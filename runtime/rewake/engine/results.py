"""The result of a run as a Python value, for those who embed an engine."""

from __future__ import annotations

from typing import Any

from rewake.authoring.hints import return_hint
from rewake.engine.engine import Engine
from rewake.errors import CheckpointUnreadable
from rewake.kinds import Purpose
from rewake.records import Header, Outcome
from rewake.values.failures import task_error
from rewake.values.run_codec import RunCodec


def result_of(engine: Engine, header: Header, outcome: Outcome) -> Any:
    """What a run returned, as the Python value; a pickle is loaded only if its signature is right.

    Raises `TaskError` if the run did not succeed, `CheckpointUnreadable` if its result cannot be
    read, and `RunNotFound` if this app lacks its workflow, whose type hint says what to read.
    """
    if outcome.failure is not None:
        raise task_error(outcome.failure)
    if outcome.value is None:
        raise CheckpointUnreadable(f"the result of run {header.run} is missing")
    services = engine.services
    hint = return_hint(services.app.workflow(header.workflow).function)
    codec = RunCodec(services.secret, header.run, sealed=header.digest_key != "")
    return codec.decode(outcome.value, key="", purpose=Purpose.OUTPUT, hint=hint)
