"""Where keyed states lie, and the lists of runs by their labels: by names that users give."""

from __future__ import annotations

import re

LABELLED = "l#"
"""The first letters of the sort keys, and partitions, of items of labels."""
_LABELLED = re.compile(r"^l#([0-9]{2}#)?")

STATES = "s"
"""The partition of all keyed states, where they are not spread."""
_PLACE_OF_STATE = 3


def states_partition(shard: int | None) -> str:
    """The partition of a shard of all keyed states; None: they are not spread."""
    return STATES if shard is None else f"{STATES}#{shard:02d}"


def state_sort(*place: str) -> str:
    """The sort key of the keyed state of this tenant, name and key, or the beginning of some."""
    return "#".join((STATES, *place, *([""] if len(place) < _PLACE_OF_STATE else [])))


def is_state_place(sort: str) -> bool:
    """Whether this can be a cursor of a list of keyed states."""
    return sort.startswith(f"{STATES}#") and sort.count("#") >= _PLACE_OF_STATE


def label_in(partition: str) -> tuple[str, str]:
    """The name and the value of the label whose runs lie in this partition, spread or not."""
    name, _, value = _LABELLED.sub("", partition).partition("=")
    return name, value


def labels_partition(name: str, value: str, shard: int | None) -> str:
    """The partition of a shard of the runs that have a label; None: they are not spread."""
    part = "" if shard is None else f"{shard:02d}#"
    return f"{LABELLED}{part}{name}={value}"
