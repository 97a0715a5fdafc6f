"""The cursors in a query: where a page begins, as the one before it told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.requests import Request

from rewake.errors import InvalidInput
from rewake.stores.cursors import cursor_of, place_of

T = TypeVar("T")


def place_in(
    request: Request, name: str, kind: type[T], fits: Callable[[T], bool] | None = None
) -> T | None:
    """The place that the query names, if any; `fits`: whether the list has such places.

    Raises `InvalidInput`.
    """
    query: Mapping[str, str] = request.query_params
    text = query.get(name)
    if text is None:
        return None
    try:
        place = place_of(text, kind)
        if fits is not None and not fits(place):
            raise ValueError
    except ValueError:
        told = f"{name} is the cursor of a page before, as it was told"
        raise InvalidInput(told, field=name) from None
    return place


def next_cursor(sort: str | None) -> str | None:
    """The cursor of the next page of a list, which begins behind this sort key, if there is one."""
    return None if sort is None else cursor_of(sort)
