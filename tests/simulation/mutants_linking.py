"""Mutants of links: what is recorded of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.authoring.approval import PendingApproval
from tests.simulation.mutants import Mutant


@contextmanager
def links_of_here() -> Iterator[None]:
    """A link lives under the address of whoever reads it, whatever was recorded."""
    recorded = PendingApproval._recorded

    def forgetful(self: PendingApproval) -> Any:
        facts, approvers = recorded(self)
        return (None if facts is None else msgspec.structs.replace(facts, base="")), approvers

    with patch.object(PendingApproval, "_recorded", forgetful):
        yield


LINKING: Sequence[Mutant] = (links_of_here,)
