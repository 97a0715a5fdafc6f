"""The workflow whose runs call the task of a hook (`authoring/alerting.py`)."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from rewake.authoring.alerting import Alert
from rewake.authoring.task import Task
from rewake.authoring.time import sleep
from rewake.authoring.workflow import LONGEST_NAME, Workflow, workflow
from rewake.errors import StuckError, TaskError

log = logging.getLogger("rewake.workflow")

PAUSES: Final = (60, 600, 3_600, 6 * 3_600, 18 * 3_600)
"""Seconds between two calls of a task that fails for good each time."""
KEEP: Final = timedelta(days=7)


def teller_of(task: Task[Any, Any]) -> Workflow[[Alert], None]:
    """The workflow whose runs tell by this task."""

    async def tell(alert: Alert) -> None:
        for pause in PAUSES:
            try:
                await task(alert)
            except StuckError:
                raise
            except TaskError as error:
                log.warning("%s could not tell: %s; again in %d s", task.label, error, pause)
                await sleep(pause)
            else:
                return
        await task(alert)

    name = f"tell-{task.label}".encode()[:LONGEST_NAME].decode(errors="ignore")
    return workflow(name=name, keep=KEEP)(tell)
