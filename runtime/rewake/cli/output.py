"""Output on stdout: results, and nothing but results."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec

from rewake.cli.exits import harmless, tell


@contextmanager
def pure_stdout() -> Iterator[TextIO]:
    """Stdout for the result alone.

    All that is printed inside the block, by user code and its subprocesses, goes to stderr.
    """
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as result:
        os.dup2(2, 1)
        try:
            yield result
        finally:
            sys.stdout.flush()
            os.dup2(result.fileno(), 1)


def tell_failure(state: str, error: Mapping[str, Any]) -> None:
    """Say on stderr why a run has no result; `error` is as in the HTTP contract."""
    if state == "cancelled":
        tell(f"the run was cancelled: {error['message']}")
    else:
        tell(error.get("traceback", "").rstrip() or f"{error['type']}: {error['message']}")


def write_json(value: Any, out: TextIO | None = None) -> None:
    """Write a JSON value: indented on a terminal, else as one line."""
    out = out or sys.stdout
    body = msgspec.json.encode(value)
    if out.isatty():
        body = msgspec.json.format(body, indent=2)
    out.write(harmless(body.decode(), out) + "\n")
    out.flush()
