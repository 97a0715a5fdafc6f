"""`rewake cost`: what a run of a workflow would cost in the cloud, counted in a run of it here.

The run is a real one, on a database in memory that counts what DynamoDB, S3 and SQS would bill; its
tasks are carried out. What these use themselves, and the processor, are not in it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rewake.app import App, load_app
from rewake.cli.exits import Exit, tell
from rewake.cli.output import pure_stdout, write_json
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine, running
from rewake.errors import AppError
from rewake.records import Invocation
from rewake.signing.secret import Secret
from rewake.states import ENDED
from rewake.stores.metered import MeteredTable
from rewake.views.costs import MESSAGES, REQUESTS, dollars, prices_of

_MILLION = 1_000_000
_ENDED = [state.said for state in ENDED]


class Counting(InProcessDispatcher):
    """A dispatcher between many servers, of which there is one: each message is counted."""

    local = False

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.messages = 0

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        """As of any dispatcher; counted."""
        self.messages += len(invocations)
        await super().dispatch(invocations)


def cost(source: str, arguments: Mapping[str, Any], wait: float, *, json: bool) -> Exit:
    """Run the workflow once, and say what that used. `wait`: so many seconds at the most."""
    with pure_stdout() as out:
        app, name = load_app(source)
        if name is None and len(app.workflows) > 1:
            raise AppError(f"{source} has several workflows; say which: {source}:NAME")
        used, state = asyncio.run(_counted(app, name or next(iter(app.workflows)), arguments, wait))
        prices = prices_of()
        told = bill(used)
        if json:
            write_json({"state": state, "used": used, "prices": prices, **told}, out)
            return Exit.DONE
        for each, count in used.items():
            out.write(f"{each:20}{count:>8}  ${told['dollars'][each]:.7f}\n")
        out.write(f"{'a million such runs':28}  ${told['a million runs']:,.2f}\n")
        if state not in _ENDED:
            tell(f"it has not ended in {wait:g} s: what it uses from then on is not counted")
        tell(f"the run is {state}; prices of {prices['date']}: {prices['where']}")
        return Exit.DONE


async def _counted(
    app: App, workflow: str, arguments: Mapping[str, Any], wait: float
) -> tuple[dict[str, int], str]:
    """What a run has used when it ends, or waits for longer; and how it stands then."""
    table, dispatcher = MeteredTable(), Counting()
    engine = Engine(app, table, dispatcher, Secret("nothing that is kept is signed by this"))
    async with running(engine):
        header, _ = await engine.start(workflow, arguments)
        await engine.result(header.run, wait)
        used = Counter(table.used)
        used[MESSAGES] = REQUESTS * dispatcher.messages
        return dict(used), (await engine.get(header.run)).state.said


def bill(used: Mapping[str, int]) -> dict[str, Any]:
    """What all of it costs, each by itself, and a million runs of it."""
    each = dollars(used)
    return {"dollars": each, "a million runs": sum(each.values()) * _MILLION}
