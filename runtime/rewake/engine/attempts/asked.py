"""What the history says that a task was asked with, for whom its message does not say."""

from __future__ import annotations

import msgspec

from rewake.errors import CheckpointUnreadable
from rewake.records import Header, Invocation, Operation, Value
from rewake.stores.joins import may_be_open
from rewake.stores.protocol import Store


async def message_for(store: Store, header: Header, operation: Operation) -> Invocation | None:
    """The message for an open task; None if the workflow waits for it no more.

    Many wait for a retry at once, so these carry what the history says. Where one was withdrawn
    meanwhile, whoever goes on with its run settles it.
    """
    run, args = header.run, operation.args
    if args is not None:
        whole = await store.resolve(run, args)
        about = Invocation(
            run, operation.key, operation.name, whole, round=operation.round, tag=operation.tag
        )
        joined, spared = may_be_open(header), header.spared < 0
        return msgspec.structs.replace(about, joined=joined, spared=spared, terms=operation.terms)
    history = await store.entries(header)
    for entry in history.dispatched():
        if (entry.key, entry.round) == (operation.key, operation.round):
            return await store.message(header, entry)
    return None


async def arguments_of(store: Store, operation: Operation) -> Value:
    """The arguments of a task whose message was too large to carry them.

    Raises `CheckpointUnreadable`.
    """
    header = await store.header(operation.run)
    found = await message_for(store, header, operation)
    if found is None or found.args is None:
        raise CheckpointUnreadable(f"nothing says what {operation.key!r} was called with")
    return found.args
