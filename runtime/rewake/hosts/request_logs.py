"""What libraries log of requests, and may not: queries that hold secrets, and parts of bodies."""

from __future__ import annotations

import logging

from rewake.http.gate import SELF_CHECKED

_PATH = 2  # of what uvicorn logs: client, method, path with query, version, status


def bound_request_logs() -> None:
    """Let the access log have no query of a delivery, and the parser of forms say nothing.

    What is wrong with a form is told with the delivery, in one line.
    """
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _without_query(record: logging.LogRecord) -> bool:
    given = record.args
    if isinstance(given, tuple) and len(given) > _PATH:
        path, asked, _ = str(given[_PATH]).partition("?")
        if asked and path.startswith(SELF_CHECKED):
            record.args = (*given[:_PATH], f"{path}?…", *given[_PATH + 1 :])
    return True
