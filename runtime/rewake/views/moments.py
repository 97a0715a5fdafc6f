"""Times as they are shown: RFC 3339, in UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rewake.records import Millis

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = "9999-12-31T23:59:59.999Z"


def moment(millis: Millis) -> str:
    """A moment as RFC 3339, to the millisecond."""
    try:
        text = (_EPOCH + timedelta(milliseconds=millis)).isoformat(timespec="milliseconds")
    except OverflowError:
        return _LAST
    return text.removesuffix("+00:00") + "Z"


def moment_or_none(millis: Millis | None) -> str | None:
    """A moment as RFC 3339, if there is one."""
    return None if millis is None else moment(millis)


def millis_of(text: str) -> Millis:
    """The moment that RFC 3339 text tells, in UTC if it does not say. Raises `ValueError`."""
    told = datetime.fromisoformat(text)
    return millis_at(told if told.tzinfo is not None else told.replace(tzinfo=UTC))


def millis_at(told: datetime) -> Millis:
    """A moment whose zone is known, in milliseconds."""
    return (told - _EPOCH) // timedelta(milliseconds=1)
