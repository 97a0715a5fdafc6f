"""What the access log may not hold: the query of a delivery, in which providers send secrets."""

from __future__ import annotations

import logging

from rewake.http.gate import SELF_CHECKED

_PATH = 2  # of what uvicorn logs: client, method, path with query, version, status


def without_queries(record: logging.LogRecord) -> bool:
    """A filter of the access log that lets every record through, some of them without a query."""
    given = record.args
    if isinstance(given, tuple) and len(given) > _PATH:
        path, asked, _ = str(given[_PATH]).partition("?")
        if asked and path.startswith(SELF_CHECKED):
            record.args = (*given[:_PATH], f"{path}?…", *given[_PATH + 1 :])
    return True
