"""Lists of runs: which are wanted, how a list goes on, what is counted.

The list has a view of each run, newest first, which says of what workflow it is. How a run stands
is in its header alone, so a list of a state reads headers; each page looks at a bounded number of
runs, and its cursor goes on behind all that it has looked at. A run that is done or cancelled stays
so: its header is read once, and a list that does not want it passes it over from then on.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.ledger import View
from rewake.records import Header, Millis
from rewake.states import SHOWN, RunState
from rewake.stores.keys import moment_of_view, view_key, views_behind, views_until
from rewake.stores.reads import Reads
from rewake.stores.table import Page
from rewake.values.failures import described

LOOKED_AT = 1_000
"""How many views one page of a list looks at, at the most, to be full."""
MOST_AT_ONCE = 200
"""How many views are read at once, at the most."""
REMEMBERED = 20_000
"""Runs of which it is remembered that they have ended for good."""
_FOR_GOOD = frozenset({RunState.DONE, RunState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are wanted. `workflows`: who asks may know of no others; empty: of all.

    `since` and `until`: started then or later, then or earlier. `text` is part of their id.
    `children`: also those that runs have begun. `tenant`: only those of this one. `labels`: those
    that they have. `schedule`: which one has started them. `scheduled`: whether any
    has; None: both.
    """

    workflow: str | None = None
    states: Collection[RunState] = ()
    since: Millis = 0
    until: Millis | None = None
    text: str = ""
    workflows: Collection[str] = ()
    children: bool = False
    tenant: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    schedule: str = ""
    scheduled: bool | None = None

    @property
    def is_of_some(self) -> bool:
        """Whether who asks may know of no others than these workflows, or this tenant."""
        return bool(self.workflows or self.tenant)

    def has(self, header: Header) -> bool:
        """Whether a run is wanted, of whatever workflow it is."""
        begun = self.since <= header.created and self.tenant in ("", header.tenant)
        if self.until is not None:
            begun = begun and header.created <= self.until
        here = header.labels or {}
        labelled = all(here.get(name) == value for name, value in self.labels.items())
        named = labelled and self.text in header.run and self._starts_of(header)
        return begun and named and header.state in (self.states or SHOWN)

    def _starts_of(self, header: Header) -> bool:
        """Whether it was started as is wanted."""
        named = self.schedule in ("", header.schedule)
        return named and self.scheduled in (None, header.schedule != "")

    def is_of(self, header: Header) -> bool:
        """Whether a run is of a workflow that is wanted."""
        of = self.of()
        return of is not None and (not of or header.workflow in of)

    def of(self) -> Collection[str] | None:
        """The workflows whose runs are wanted; empty: of all; None: there are none."""
        if self.workflow is None:
            return self.workflows
        return {self.workflow} if self.workflow in (self.workflows or (self.workflow,)) else None


@dataclass(slots=True)
class Counts:
    """How many runs are in each state, of those that were looked at; the `cursor` goes on."""

    states: dict[RunState, int] = field(default_factory=dict)
    cursor: str | None = None


class Listing:
    """The runs of one store, as they are listed by one process."""

    def __init__(self, store: Reads) -> None:
        self._store = store
        self._ended: OrderedDict[str, Header] = OrderedDict()

    async def page(
        self, wanted: Wanted, limit: int, cursor: str | None
    ) -> tuple[list[Header], str | None]:
        """At most `limit` runs, newest first, and the cursor of the next page, if there is one.

        A page is full unless the list ends, or `LOOKED_AT` views that no filter passes lie between.
        """
        found: list[Header] = []
        scan = _Scan(self._store, wanted, cursor)
        while len(found) < limit and (views := await scan.some(limit - len(found))):
            found += await self._headers(views, wanted, whole=True)
        return found, scan.cursor(found)

    async def count(self, wanted: Wanted, cursor: str | None) -> Counts:
        """How many of the next `LOOKED_AT` runs are in each state."""
        counts, scan = Counts(), _Scan(self._store, wanted, cursor)
        while views := await scan.some(MOST_AT_ONCE):
            for header in await self._headers(views, wanted, whole=False):
                counts.states[header.state] = counts.states.get(header.state, 0) + 1
        counts.cursor = scan.cursor(())
        return counts

    def _known(self, view: View) -> Header | None:
        """What is remembered of a run that has ended for good, if anything is."""
        found = self._ended.get(view.run)
        return found if found is not None and found.created == view.created else None

    async def _headers(self, views: Sequence[View], wanted: Wanted, *, whole: bool) -> list[Header]:
        """The runs of these views that are wanted. `whole`: what is remembered is not enough."""
        found: dict[View, Header] = {}
        for view in views:
            known = self._known(view)
            if known is not None and not (whole and wanted.has(known)):
                found[view] = known
        unknown = [view for view in views if view not in found]
        for view, header in zip(unknown, await self._read(unknown), strict=True):
            # Without one a start died before it; another one existed before the start.
            if header is not None and header.created == view.created:
                found[view] = header
                if header.state in _FOR_GOOD:
                    self._remember(header)
        headers = (found.get(view) for view in views)
        return [each for each in headers if each and wanted.is_of(each) and wanted.has(each)]

    async def _read(self, views: Sequence[View]) -> list[Header | None]:
        """The headers of these views, at once; one by one if some cannot be read."""
        try:
            return await self._store.headers([view.run for view in views]) if views else []
        except CheckpointUnreadable as error:
            if len(views) == 1:
                return [unreadable(views[0], error)]
            return [header for view in views for header in await self._read([view])]

    def _remember(self, header: Header) -> None:
        kept = Header(header.run, header.workflow, header.created, seed=0, runtime=0)
        kept.state, kept.tenant, kept.labels = header.state, header.tenant, header.labels
        kept.schedule = header.schedule
        self._ended[header.run] = kept
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)


class _Scan:
    """The views of one page, one after another; those of other workflows are passed over."""

    def __init__(self, store: Reads, wanted: Wanted, cursor: str | None) -> None:
        self._store = store
        self._wanted = wanted
        self._of = wanted.of()
        begin = None if wanted.until is None else views_until(wanted.until)
        self._cursor = max(filter(None, (cursor, begin)), default=None)
        self._views: deque[tuple[str, View]] = deque()
        self._left = LOOKED_AT
        self._next: str | None = ""
        self._is_over = self._of is None

    async def some(self, most: int) -> list[View]:
        """The next views, so many if there are; none at the end of the page."""
        found: list[View] = []
        while len(found) < most and (view := await self.next(most - len(found))) is not None:
            found.append(view)
        return found

    async def next(self, needed: int) -> View | None:
        """The next view; None at the end of the page. `needed`: how many more would do."""
        while not self._is_over:
            if not self._views and not await self._read(needed):
                break
            if self._left <= 0 and self._may_end(self._views[0][0]):
                break
            sort, view = self._views.popleft()
            if view.created < self._wanted.since:
                self._is_over = True
                break
            self._cursor, self._left = sort, self._left - 1
            if self._is_wanted(view):
                return view
        return None

    async def _read(self, needed: int) -> bool:
        """Read more views; False: there are none."""
        if self._next is None:
            self._is_over = True
            return False
        looked_at = LOOKED_AT - self._left
        few = min(max(needed, looked_at), MOST_AT_ONCE)
        page = await self._page(few)
        self._next = page.cursor
        self._views.extend((key.sort, view) for key, view in page.items)
        return bool(self._views) or await self._read(needed)

    async def _page(self, few: int) -> Page:
        for name, value in self._wanted.labels.items():
            listed = self._store.labelled
            return await listed.page(name, value, limit=few, cursor=self._cursor)
        children = self._wanted.children
        return await self._store.views(limit=few, cursor=self._cursor, children=children)

    def _may_end(self, following: str) -> bool:
        """Whether the page may end before this view: where a cursor can say so (see `cursor`)."""
        if not self._wanted.is_of_some or self._cursor is None:
            return True
        return moment_of_view(self._cursor) != moment_of_view(following)

    def _is_wanted(self, view: View) -> bool:
        """Whether the view alone says nothing against it."""
        return (not self._of or view.workflow in ("", *self._of)) and self._wanted.text in view.run

    def cursor(self, shown: Sequence[Header]) -> str | None:
        """The cursor of the next page.

        Who may not know of all runs is told none that names one that was not shown: it is behind
        all that was started at the moment of the last one that was looked at.
        """
        if self._is_over or (not self._views and self._next is None):
            return None
        if not self._wanted.is_of_some or self._cursor is None:
            return self._cursor
        if shown and sort_of_view(shown[-1]) == self._cursor:
            return self._cursor
        return views_behind(self._cursor)


def sort_of_view(header: Header) -> str:
    """Where a run is in a list, newest first."""
    return view_key(View(header.run, "", header.created)).sort


def unreadable(view: View, error: CheckpointUnreadable) -> Header:
    """A stand-in for the header of a listed run, if this process cannot read it.

    Of one that a newer version wrote, what can be read is as it stands.
    """
    if isinstance(error, ReadableElsewhere) and isinstance(error.outline, Header):
        return error.outline
    header = Header(view.run, view.workflow, view.created, seed=0, runtime=0)
    header.state, header.error = RunState.STUCK, described(error)
    return header


def said(states: Mapping[RunState, int]) -> dict[str, int]:
    """Counts by what users call the states, each of them named."""
    return {state.said: states.get(state, 0) for state in SHOWN}
