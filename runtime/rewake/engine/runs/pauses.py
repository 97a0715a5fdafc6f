"""Pausing a run: nothing of it begins any more, until it is resumed.

1. Attempts that run go on to their ends, and what they come to is kept. No task of a paused run is
   begun, no step, and no body observes anything.
2. What arrives meanwhile is kept and counted: outcomes, decisions, callbacks. Deadlines go on, by
   which decisions are judged as ever; that a timer or a deadline has passed is observed when the
   run is resumed, in the order of their moments. So is the end of the time that a run has at all.
3. A run that somebody holds is paused by its holder, as soon as no step of it runs; where that has
   died, by whoever would take it over. Any other is paused by the request itself.
4. Nobody looks at a paused run: it is not due. Whoever resumes it makes it due for all of that.
5. A request to cancel ends the pause, for a cleanup has to run; a kill ends the run as it stands.

The conditional writes are in `stores/requests.py` and `stores/turns.py`.
"""

from __future__ import annotations

from rewake.engine.logs.carrying import carrying_out, runs_log
from rewake.engine.runs.removals import Removals
from rewake.errors import RunConflict
from rewake.records import Header
from rewake.states import LIVE, RunState
from rewake.stores.paused import is_paused
from rewake.stores.requests import not_stuck


class Pauses(Removals):
    """Pausing the runs of one store, and letting them go on."""

    async def pause(self, run: str, *, dry_run: bool = False) -> Header:
        """Pause a run; of one that is paused nothing changes.

        While attempts at steps run it is not `paused` yet, but `pause` says that it is asked to be.
        Raises `RunNotFound`, and `RunConflict` if it is over or stuck.
        """
        header = await (self._store.header(run) if dry_run else self._store.pause(run))
        if not is_paused(header) and not (dry_run and header.state in LIVE):
            raise _not_live(header)
        if not dry_run:
            self._services.poke(run)
            with carrying_out(run):
                runs_log.info("run %s of %s is asked to pause", run, header.workflow)
        return header

    async def resume(self, run: str, *, dry_run: bool = False) -> Header:
        """Let a stuck or paused run go on; a stuck one with current code and Python.

        Raises `RunNotFound`, `RunConflict`.
        """
        if dry_run:
            header = await self._store.header(run)
            if header.state is not RunState.STUCK and not is_paused(header):
                raise not_stuck(header)
            return header
        await self._services.hooks.tell(await self._store.header(run))
        header = await self._store.resume(run, self._services.clock.now())
        with carrying_out(run):
            runs_log.info("run %s of %s is resumed", run, header.workflow)
        if header.state is RunState.READY:
            await self._services.wake(run)
        else:
            self._services.poke(run)
        return header


def _not_live(header: Header) -> RunConflict:
    told = f"run {header.run!r} cannot be paused, it is {header.state.said}"
    return RunConflict(told)
