"""Beginning a run once more: from its beginning, or from one of its operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from rewake.engine.runs.beginning import Beginning, Noted
from rewake.engine.runs.forking import Binding, Fork, begins_with, fork
from rewake.engine.starts.door import Door, Given, StandsFor, door_of
from rewake.errors import CheckpointUnreadable, RunConflict, RunRemoved
from rewake.kinds import Purpose
from rewake.noted import Origin
from rewake.records import Entry, Header, Started
from rewake.replay.operation import FORKED_EPOCH
from rewake.states import RunState
from rewake.stores.history import History
from rewake.values.run_codec import RunCodec, digests_of


class Again(Beginning):
    """Reruns and forks of the runs of one store."""

    async def rerun(
        self,
        run: str,
        input: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        by: str = "",
        noted: Noted | None = None,
        dry_run: bool = False,
    ) -> Header:
        """Start a run anew, with its input or with another one. Returns the new run.

        It may stand anywhere, and stays as it is. `id`: of the new run; if that is there already,
        and was made so, it is returned. In a dry run the run itself is.

        Raises:
            RunNotFound: no such run, or no such workflow any more.
            InvalidInput: the input, or the id, does not fit.
            RunConflict: `id` is that of another run, or a limit of the workflow does not let it in.
            CheckpointUnreadable: its input cannot be read.
        """
        store = self._store
        header, history = await store.as_it_stands(await store.header(run), store.history)
        given, strict = self._given(header, history, input), input is not None
        origin, named = Origin(run), id is not None
        labels = _labels(history)
        start = Given(given, strict, header.tenant, None, named, labels=labels, origin=origin)
        create = self.creating(header.workflow, start, "", noted, by, ("", None))
        if dry_run:
            self._services.app.workflow(header.workflow).arguments(given, strict=strict)
            return header
        try:
            found, new = await create(
                self._name(header.workflow, id, None, header.tenant).first, None
            )
        except StandsFor as there:
            raise _stands(there) from None
        return _made(found, origin, new=new)

    async def fork(
        self,
        run: str,
        at: str,
        input: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        noted: Noted | None = None,
        dry_run: bool = False,
    ) -> Header:
        """Begin a new run as this one was before it asked for the operation `at`. Returns it.

        The run stays as it is. `input`: another one, with which the body goes the same way up to
        there. `rewake.engine.runs.forking` has the rules. `id`, and errors, are as in `rerun`; of
        an operation that it has not asked for, `RunNotFound` names those with a key like that.
        """
        store = self._store
        header, history = await store.as_it_stands(await store.header(run), store.history)
        now, name = (
            self._services.clock.now(),
            self._name(header.workflow, id, None, header.tenant).first,
        )
        given = self._given(header, history, input)
        recorded = self._recorded(header, given, strict=input is not None)
        seed = self._services.chance.getrandbits(53)
        made = fork(header, history, at, name, max(now, header.clock), seed)
        if dry_run:
            return header
        new = self._fork_header(header, made, name, given, same=input is None)
        new.origin, new.labels = Origin(run, at), dict(_labels(history)) or None
        old = digests_of(self._services.secret, header)
        own = digests_of(self._services.secret, new)
        binding = Binding(old, own, compare=input is None)
        made.entries = [binding.entry(entry) for entry in made.entries]
        made.items = [binding.item(item) for item in made.items]
        if input is not None:
            made.entries[0] = self._with_input(new, made.entries[0], recorded)
        start = Given(given, False, new.tenant, None, True, origin=new.origin)
        workflow = self._services.app.workflow(new.workflow)
        door = door_of(self._services, workflow, start)
        if door is not None:
            await door.open(name, recorded)
        await self._services.events.watches.make(name, workflow, recorded)
        return await self._begin_fork(new, made, door, noted)

    def _fork_header(
        self, header: Header, made: Fork, run: str, given: Mapping[str, Any], *, same: bool
    ) -> Header:
        """The header of a fork; with the `same` input its digests have the same key."""
        services, now = self._services, self._services.clock.now()
        new = self._new_header(run, header.workflow, given, "", header.tenant)
        if header.digest_key and same:
            new.digest_key = digests_of(services.secret, header).same_digest_key(run)
        nobody = {"state": RunState.READY, "due": now, "owner": "", "process": "", "lease": 0}
        kept = begins_with(header, made)
        return replace(new, **kept, **nobody, epoch=FORKED_EPOCH, clock=max(now, header.clock))

    def _with_input(self, new: Header, first: Entry, recorded: Mapping[str, Any]) -> Entry:
        assert isinstance(first, Started)
        hidden = self._services.app.workflow(new.workflow).inputs.hidden
        codec = RunCodec(self._services.secret, new.run)
        value = codec.encode(dict(recorded), key="", purpose=Purpose.INPUT, hidden=hidden)
        return replace(first, args=value)

    async def _begin_fork(
        self, new: Header, made: Fork, door: Door | None, noted: Noted | None
    ) -> Header:
        async def make() -> tuple[Header, bool]:
            found, is_new = await self._store.fork(new, made.entries, made.items)
            if is_new and noted is not None:
                await noted(found)
            return found, is_new

        try:
            found, is_new = await (make() if door is None else door.through(new, make))
        except StandsFor as there:
            raise _stands(there) from None
        if is_new:
            await self._services.wake(found.run)
        return _made(found, new.origin, new=is_new)

    def _named(self, header: Header, id: str | None) -> str:
        return self._name(header.workflow, id, None, header.tenant).first

    def _recorded(
        self, header: Header, given: Mapping[str, Any], *, strict: bool
    ) -> Mapping[str, Any]:
        return self._services.app.workflow(header.workflow).recorded(given, strict=strict)

    def _given(
        self, header: Header, history: History, input: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """The input of a new run: another one, or that of this run."""
        first = history.entries[0]
        if input is not None:
            return input
        if not isinstance(first, Started):
            raise CheckpointUnreadable(f"the history of run {header.run!r} has no beginning")
        codec = digests_of(self._services.secret, header)
        given: Mapping[str, Any] = codec.decode(first.args, key="", purpose=Purpose.INPUT)
        return given


def _labels(history: History) -> Mapping[str, str]:
    """The labels that a run, or its lap, has begun with."""
    first = history.entries[0]
    return first.labels if isinstance(first, Started) else {}


def _made(found: Header, origin: Origin | None, *, new: bool) -> Header:
    """The run that was made, or was there and made so. Raises `RunConflict`."""
    if found.state is RunState.REMOVED:
        raise RunRemoved(f"run {found.run!r} has ended, and was removed", run=found.run)
    if not new and found.origin != origin:
        raise RunConflict(f"run {found.run!r} is another one", run=found.run)
    return found


def _stands(there: StandsFor) -> RunConflict:
    run = there.header.run
    return RunConflict(f"run {run!r} is there, and only one may be", run=run)
