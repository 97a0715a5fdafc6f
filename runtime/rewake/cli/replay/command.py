"""`rewake replay`: a run's history, fed to the code of today, without touching the run.

The database is opened for reading only, no engine is made, and the replay core carries nothing
out: nothing is written, dispatched, or run but the body of the workflow.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewake.app import load_app
from rewake.cli.exits import Exit, tell
from rewake.cli.home import find_secret
from rewake.cli.replay.every import replay_all
from rewake.cli.replay.replaying import Replay, read_run
from rewake.engine.instances.program import RUNTIME
from rewake.errors import UsageError
from rewake.hosts.databases import Address
from rewake.views.runs import STATES


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of the command."""

    run: str
    app: str
    db: Address
    debug: bool = False
    logs: bool = False
    all: bool = False
    states: tuple[str, ...] = ()


def replay(options: ReplayOptions) -> Exit:
    """Carry out the command. Raises `RewakeError` for wrong options."""
    _check(options)
    secret = find_secret()
    if options.all:
        app, _ = load_app(options.app)
        return replay_all(app, secret, options.db, options.states)
    header, history = read_run(options.db, secret, options.run)
    app, _ = load_app(options.app)
    if header.runtime > RUNTIME:
        tell("note: the run is one of a newer Rewake; what that does differently is not known here")
    replaying = Replay(app, secret, header, history, logs=options.logs)
    if not options.debug:
        return replaying.report(replaying.run(shown=True))
    tracer = replaying.run(shown=False)
    replaying.debug(tracer)
    return replaying.report(tracer)


def _check(options: ReplayOptions) -> None:
    if options.all and (options.run or options.debug):
        raise UsageError("--all replays every run: it takes no RUN and no --pdb")
    if not options.all and not options.run:
        raise UsageError("give the id of a RUN, or --all")
    if options.states and not options.all:
        raise UsageError("--state narrows --all")
    for state in options.states:
        if state not in STATES.values():
            raise UsageError(
                f"there is no state {state!r} (there is: {', '.join(STATES.values())})"
            )
