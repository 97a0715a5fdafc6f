"""How writes to a SQLite file share their commits.

The cost of a durable write is the sync at its COMMIT, so commits are what is shared. Everything
that waits runs in one transaction, is committed once, and only then answered: under load a commit
carries hundreds of writes, and alone a write waits for nobody. Jobs in a transaction stay
independent. A write touches one row, so one that fails leaves nothing behind. When a job fails that
has written something before, which is rare, all are undone and run again, each in a savepoint of
its own now. Only when SQLite rolls the whole transaction back (no room, an I/O error) do all its
jobs fail, and then none of them has happened.

There are two places to commit. A few jobs are committed *near*: in the event loop, once it has
run what was ready, since on a fast disk a sync takes less time than waking two threads. Many
jobs, or any on a slow disk, or while another process or that thread is writing, are committed
*far*: on a thread that may wait, so that the event loop never does.

A transaction begins IMMEDIATE: a lock that is taken late can be refused late, after work was
done. One that turns out to change nothing commits without writing, and so without a sync.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from rewake.errors import StoreUnavailable
from rewake.stores.sqlite.file import is_busy, rolled_back, translate
from rewake.stores.sqlite.rows import Rows

FEW = 8
"""The most jobs that are committed near."""
SETTLED = 32
"""After so many commits `reserve` is called, once: who makes a few is not held up by it."""
FAST = 0.002
"""The most seconds that a commit takes, on average, while jobs are committed near."""


class Writer:
    """Runs jobs in shared transactions, on `far`, or on `near` if given.

    Without `near` there is no thread either: each job is a transaction of its own, in the caller.
    `commits` counts the transactions that changed something. `reserve`: what the far thread does
    once the process has made a few of them.
    """

    def __init__(self, far: Rows, near: Rows | None, reserve: Callable[[], None] | None) -> None:
        self.commits = 0
        self._far = far
        self._near = near
        self._reserve = reserve
        self._active = threading.local()
        self._gate = threading.Lock()
        self._closed = False
        self._pace = 0.0
        self._home: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Job] = []
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._serving = False
        self._thread: threading.Thread | None = None
        if near is not None:
            self._thread = threading.Thread(target=self._serve, name="rewake-sqlite", daemon=True)
            self._thread.start()

    def inside(self) -> Rows | None:
        """The rows of the transaction that the calling thread is in, if it is in one."""
        rows: Rows | None = getattr(self._active, "rows", None)
        return rows

    def refuse_if_closed(self) -> None:
        """Raise `StoreUnavailable` after `close`."""
        if self._closed:
            raise StoreUnavailable("the table is closed")

    async def run(self, work: Callable[[Rows], Any], several: bool) -> Any:
        """Run `work` in a transaction, and return what it returns once that is durable.

        `several`: it may write more than once, and then does all or nothing. It may be run again,
        after what it wrote was undone.
        """
        if self._near is None:
            await asyncio.sleep(0)
            self.refuse_if_closed()
            (end,) = self._commit(self._far, [_Job(work, several, None, None)])
            if end.error is not None:
                raise end.error
            return end.value
        loop = asyncio.get_running_loop()
        job = _Job(work, several, loop, loop.create_future())
        if loop is self._home or self._settle_in(loop):
            self.refuse_if_closed()
            first = not self._waiting
            if first:  # If a deep stack has no room for this, nobody waits for who was not asked.
                loop.call_soon(self._commit_near)
            self._waiting.append(job)
            if first:  # Its turn comes right behind that: it is not woken by one more.
                try:
                    await asyncio.sleep(0)
                except BaseException:
                    job.future.cancel()  # nobody is to be told of an error
                    raise
        else:
            self._enqueue([job])
        return await job.future

    async def close(self) -> None:
        """Finish the writes that wait, then close the connections."""
        self._commit_near()
        with self._gate:
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        if self._near is not None:
            self._near.connection.close()
        self._far.connection.close()

    def _settle_in(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether this loop now commits near: the first one does, until it is closed."""
        with self._gate:
            if self._home is None or self._home.is_closed():
                self._home = loop
                self._waiting = []
            return self._home is loop

    # --- near ----------------------------------------------------------------------------------

    def _commit_near(self) -> None:
        jobs, self._waiting = self._waiting, []
        if not jobs:
            return
        # Who commits near again and again would leave the thread that waits no moment to begin.
        if self._near is None or self._serving or len(jobs) > FEW or self._pace > FAST:
            self._enqueue(jobs)
            return
        ends = self._commit(self._near, jobs)
        if all(map(_found_busy, ends)):
            self._enqueue(jobs)
        else:
            _resolve([(job.future, end) for job, end in zip(jobs, ends, strict=True)])

    def _enqueue(self, jobs: Sequence[_Job]) -> None:
        with self._gate:
            if not self._closed:
                for job in jobs:
                    self._queue.put(job)
                return
        refused = StoreUnavailable("the table is closed")
        _answer(jobs, [_End(None, refused) for _ in jobs])

    # --- far -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        while self._serve_waiting():
            pass

    def _serve_waiting(self) -> bool:
        # A method of its own, so that an idle thread keeps no former job in memory.
        waiting = [self._queue.get()]
        waiting += [self._queue.get() for _ in range(self._queue.qsize())]
        jobs = [job for job in waiting if job is not None]
        if jobs:
            self._serving = True
            ends = self._commit(self._far, jobs)
            self._serving = False  # before they hear of it, who may write again
            _answer(jobs, ends)
        return len(jobs) == len(waiting)

    # --- a transaction -------------------------------------------------------------------------

    def _commit(self, rows: Rows, jobs: Sequence[_Job]) -> list[_End]:
        """Run all jobs in one transaction, and return how each ended once that is certain."""
        connection = rows.connection
        before = connection.total_changes
        self._active.rows = rows
        try:
            connection.execute("BEGIN IMMEDIATE")
            ends = _run_all(rows, jobs)
            began = time.perf_counter()
            connection.execute("COMMIT")
        except BaseException as error:  # The callers are told; the thread lives on.
            with suppress(sqlite3.Error):
                connection.rollback()
            alone = len(jobs) == 1
            return [_End(None, translate(error) if alone else rolled_back(error)) for _ in jobs]
        finally:
            self._active.rows = None
        if connection.total_changes != before:
            self.commits += 1
            if self.commits == SETTLED and (reserve := self._reserve) is not None:
                self._enqueue([_Job(lambda _: reserve(), False, None, None)])
            # A moving average, so that one slow commit does not count for long.
            self._pace += (time.perf_counter() - began - self._pace) / 8
        return ends


class _Job(NamedTuple):
    """Work in a transaction, and its caller's future. `several`: it may write twice."""

    run: Callable[[Rows], Any]
    several: bool
    loop: asyncio.AbstractEventLoop | None
    future: Any


class _End(NamedTuple):
    """How a job ended."""

    value: Any
    error: BaseException | None


def _found_busy(end: _End) -> bool:
    return end.error is not None and is_busy(end.error)


class _HalfDone(Exception):
    """A job failed after it had written something, and was in no savepoint of its own."""


def _run_all(rows: Rows, jobs: Sequence[_Job]) -> list[_End]:
    """Run jobs in one transaction: each does all of its writes, or none.

    A savepoint costs as much as half a write, so they share one until a job fails half-way.
    """
    if len(jobs) == 1:  # Then the transaction is its savepoint.
        return [_End(jobs[0].run(rows), None)]
    rows.connection.execute("SAVEPOINT jobs")
    try:
        return [_attempt(rows, job, apart=False) for job in jobs]
    except _HalfDone:
        rows.connection.execute("ROLLBACK TO jobs")
    return [_attempt(rows, job, apart=True) for job in jobs]


def _attempt(rows: Rows, job: _Job, *, apart: bool) -> _End:
    connection = rows.connection
    before = connection.total_changes
    try:
        if apart and job.several:
            return _End(_all_or_nothing(rows, job), None)
        return _End(job.run(rows), None)
    except BaseException as error:
        if not connection.in_transaction:
            raise  # SQLite rolled back the neighbours' work too.
        if job.several and not apart and connection.total_changes != before:
            raise _HalfDone from error
        return _End(None, translate(error))


def _all_or_nothing(rows: Rows, job: _Job) -> Any:
    connection = rows.connection
    connection.execute("SAVEPOINT job")
    try:
        value = job.run(rows)
    except BaseException:
        try:
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        except sqlite3.Error:
            connection.rollback()  # To undo all jobs is better than to keep half of this one.
        raise
    connection.execute("RELEASE job")
    return value


def _answer(jobs: Sequence[_Job], ends: Sequence[_End]) -> None:
    """Answer every caller, waking each event loop only once, because waking is slow."""
    by_loop: dict[Any, list[tuple[Any, _End]]] = {}
    for job, end in zip(jobs, ends, strict=True):
        by_loop.setdefault(job.loop, []).append((job.future, end))
    by_loop.pop(None, None)  # of what nobody waits for
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # A closed loop: nobody waits there any more.
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[Any, _End]]) -> None:
    for future, end in answers:
        if future.done():
            continue  # The caller was cancelled.
        if end.error is None:
            future.set_result(end.value)
        else:
            future.set_exception(end.error)
