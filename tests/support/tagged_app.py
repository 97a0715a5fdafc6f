"""An app with a task that only servers of a tag carry out."""

import os
import threading
from pathlib import Path

from rewake import task, workflow


@task
async def here() -> int:
    """The process of an untagged task."""
    return os.getpid()


@task(tag="gpu")
async def there() -> int:
    """The process of a task for servers of the tag."""
    return os.getpid()


@task(tag="gpu")
def long(trace: str) -> int:
    """Whoever comes first goes on for ever; the next one is done at once."""
    with Path(trace).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(Path(trace).read_text().split()) == 1:
        threading.Event().wait()
    return os.getpid()


@workflow
async def mixed() -> list[int]:
    """Tasks of both kinds, one after the other."""
    return [await here(), await there(), await here()]


@workflow
async def waits(trace: str) -> int:
    """A task whose first server does not end it."""
    return await long(trace)
