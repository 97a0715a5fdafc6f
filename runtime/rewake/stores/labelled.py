"""Runs by their labels: an item for each label of a run, newest first, by which it is found.

The items come before the header that names the labels, and go after one that does not: a process
that dies between leaves an item too many, never one too few. So who lists asks the headers, and
passes over what is not so. Many runs may have one label, so they are spread by run where one
partition would not take all (`stores/layout.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from rewake.ledger import Labelled, View
from rewake.stores.blobs import Again
from rewake.stores.layout import Layout
from rewake.stores.merging import merged
from rewake.stores.named import LABELLED
from rewake.stores.table import Key, Page, Table


class LabelledRuns:
    """The items of labels of one table. `again` repeats a call whose end is not known."""

    def __init__(self, table: Table, layout: Layout, again: Again) -> None:
        self._table = table
        self._layout = layout
        self._again = again

    async def put(self, view: View, labels: Mapping[str, str]) -> None:
        """Let a run be found by these labels."""
        item = _labelled(view)
        for name, value in labels.items():
            place = self._layout.labelled(item, name, value)
            await self._again(lambda place=place: self._table.put(place, item))  # type: ignore[misc]

    async def remove(self, view: View, labels: Mapping[str, str]) -> None:
        """Let a run be found by these labels no more."""
        item = _labelled(view)
        places = [self._layout.labelled(item, name, value) for name, value in labels.items()]
        if places:
            await self._again(lambda: self._table.delete(places))

    async def page(self, name: str, value: str, *, limit: int, cursor: str | None) -> Page:
        """A page of the views of runs that had this label, with cursors as those of all runs."""
        behind = None if cursor is None else LABELLED + cursor
        parts = self._layout.labels(name, value)
        page = await merged(self._table, parts, LABELLED, limit=limit, cursor=behind)
        found = [
            (Key(key.partition, key.sort.removeprefix(LABELLED)), item) for key, item in page.items
        ]
        end = None if page.cursor is None else page.cursor.removeprefix(LABELLED)
        return Page(found, end)


def _labelled(view: View) -> Labelled:
    return Labelled(view.run, view.workflow, view.created)
