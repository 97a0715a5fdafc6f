"""What libraries log of requests, and may not: links, queries with secrets, parts of bodies."""

from __future__ import annotations

import logging

from rewake.http.gate import SELF_CHECKED
from rewake.signing.api_tokens import redacted
from rewake.signing.redacting import without_tokens

_PATH = 2  # of what uvicorn logs: client, method, path with query, version, status


class NoTokens(logging.Filter):
    """Takes tokens out of an access log: those of links in paths, and what a query has of ours."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, without them."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                redacted(without_tokens(each)) if isinstance(each, str) else each
                for each in record.args
            )
        return True


def bound_request_logs() -> None:
    """Let the access log have no link and no query of a delivery, and no form be told of there.

    What is wrong with a form is told with the delivery, in one line.
    """
    for each in (NoTokens(), _without_query):
        logging.getLogger("uvicorn.access").addFilter(each)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _without_query(record: logging.LogRecord) -> bool:
    given = record.args
    if isinstance(given, tuple) and len(given) > _PATH:
        path, asked, _ = str(given[_PATH]).partition("?")
        if asked and any(each in path for each in SELF_CHECKED):  # also below a proxy's prefix
            record.args = (*given[:_PATH], f"{path}?…", *given[_PATH + 1 :])
    return True
