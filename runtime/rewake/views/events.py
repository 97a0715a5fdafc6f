"""Events as clients are shown them."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from rewake.kinds import Purpose
from rewake.published import Published
from rewake.records import Value
from rewake.signing.secret import Secret
from rewake.stores.ended import is_ended_due
from rewake.views.moments import moment
from rewake.views.values import Values


class EventView(msgspec.Struct, frozen=True):
    """An event that is kept.

    In a list it has also `by`, who published it, whether it was `told` to all who waited for it,
    and its `data`.
    """

    name: str
    id: str
    published: str
    by: str | UnsetType = UNSET
    told: bool | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


def event_view(event: Published, secret: Secret) -> EventView:
    """An event as a list has it."""
    values = Values(secret, f"event {event.name}", sealed=secret.codec is not None)
    value = Value(event.codec, event.body)
    data = values.show(value, key=event.id, purpose=Purpose.EVENT)
    told = is_ended_due(event.due)
    return EventView(event.name, event.id, moment(event.at), event.by or UNSET, told, data)
