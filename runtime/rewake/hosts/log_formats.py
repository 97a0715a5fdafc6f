"""How a server writes its log: as text for people, or as JSON for machines, a line a record.

Both say which run, operation and attempt a record is about (`engine/logs/carrying.py`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

ABOUT = ("run", "key", "attempt")
"""The attributes of a record that say what it is about."""
AUDIT = "audit"
"""The attribute with an entry of the audit log."""


class TextFormat(logging.Formatter):
    """Lines for people: what a record is about stands in brackets, as `[run key#attempt]`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(about)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        run, key, attempt = (getattr(record, name, None) for name in ABOUT)
        number = "" if attempt is None else f"#{attempt}"
        operation = f" {key}{number}" if key else ""
        record.about = f"[{run}{operation}] " if run else ""
        return super().format(record)


class JsonFormat(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, what it is about, `error`.

    An entry of the audit log stands in it whole (`audit`).
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{n: getattr(record, n) for n in (*ABOUT, AUDIT) if getattr(record, n, None)},
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack"] = record.stack_info
        return json.dumps(told, default=repr)


LOG_FORMATS: Mapping[str, type[logging.Formatter]] = {"text": TextFormat, "json": JsonFormat}
"""By name: the formats that a server can write."""


def configure_logging(level: str, form: str) -> None:
    """Let this process log from `level` on to stderr, unless logging is configured already.

    Python's warnings are lines for people: where an object a line is read, they are records too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(LOG_FORMATS[form]())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if form == "json":
        logging.captureWarnings(True)
