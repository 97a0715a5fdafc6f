"""Inputs of commands: arguments and values as JSON, and the approval that is meant."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from rewake.errors import InvalidInput, RunConflict, UsageError
from rewake.spelled import spelled


def arguments_from(text: str | None, file: str | None) -> dict[str, Any] | None:
    """The arguments in `--input` or `--input-file` (`-`: stdin); None without either.

    Raises `InvalidInput`, which names the option.
    """
    if text is not None and file is not None:
        raise InvalidInput("give either --input or --input-file, not both")
    if file is not None:
        return _object(_read(file), "--input-file")
    return None if text is None else _object(text, "--input")


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration_from(text: str, option: str) -> timedelta:
    """How long an option says: `90s`, `30m`, `2h`, `7d`. Raises `UsageError`."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise UsageError(f"{option} is how long, such as 90s, 30m, 2h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def moment_from(text: str, option: str) -> datetime:
    """The moment that an option says, here if it says no zone. Raises `UsageError`."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"{option} is a time such as 2026-01-31T12:00") from None


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as error:
        raise InvalidInput(f"--input-file: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"--input-file: {file} is not UTF-8 text") from None


def _object(text: str, option: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{option} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{option} must be a JSON object: the arguments by name")
    return found


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def json_value(text: str | None, name: str = "--value") -> Any:
    """What an option or argument says, as JSON; None without it. Raises `UsageError`."""
    try:
        return None if text is None else json.loads(text)
    except ValueError as error:
        raise UsageError(f"{name} is not JSON: {error}") from None


def the_one(keys: list[str], run: str) -> str:
    """The only open approval of a run. Raises `RunConflict` for none, `UsageError` for several."""
    if not keys:
        raise RunConflict(f"run {run} waits for no decision")
    if len(keys) > 1:
        raise UsageError(
            f"run {run} waits for several decisions; name one of {', '.join(map(spelled, keys))}"
        )
    return keys[0]
