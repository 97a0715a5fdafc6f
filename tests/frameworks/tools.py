"""What the agents of all three frameworks do: their tools, and what was called how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rewake import task, wait_for_signal

THINKS = 10.0
"""Seconds that a model takes."""

TURNS: Sequence[Sequence[tuple[str, dict[str, Any]]]] = [
    [("search", {"order": "o1"}), ("search", {"order": "o2"})],
    [("ask", {"question": "All of o1?"}), ("note", {"text": "ask first"})],
    [("refund", {"order": "o1", "amount": 120})],
]
"""The calls that a model makes in each turn, before it tells what came of the last one."""

called: Counter[str] = Counter()


@task(retries=2)
async def search(order: str) -> float:
    """Look up what was paid for an order."""
    called[f"search {order}"] += 1
    await asyncio.sleep(1 if order == "o2" else 2)
    return {"o1": 120.0, "o2": 80.0}[order]


@task
def refund(order: str, amount: float) -> str:
    """Refund an order. Sync: its server calls it in a thread."""
    called[f"refund {order}"] += 1
    return f"refunded {amount:.2f} of {order}"


async def ask(question: str) -> str:
    """Ask a person, for days if need be."""
    return await wait_for_signal("answer", type=str)


def note(text: str) -> str:
    """Keep in mind. Sync and without I/O: called in the body."""
    called["note"] += 1
    return text.upper()


async def thinking(turn: int) -> None:
    """What a model does before it answers. It runs in a step."""
    called[f"model {turn}"] += 1
    await asyncio.sleep(THINKS)
