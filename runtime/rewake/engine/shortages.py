"""Shortages of the machine: of memory, files, or threads.

A shortage is nobody's mistake and passes: the work that met it is released, and begun again a
little later, here or elsewhere.
"""

from __future__ import annotations

import errno

from rewake.values.failures import described

WAIT = 2_000
"""Milliseconds before work that met a shortage is offered again."""

_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


def is_shortage(error: BaseException) -> bool:
    """Whether this error says that the machine is short of something."""
    if isinstance(error, OSError):
        return error.errno in _SHORT
    return isinstance(error, MemoryError) or "can't start new thread" in described(error)
