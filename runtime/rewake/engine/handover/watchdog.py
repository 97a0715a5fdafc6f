"""The watchdog: a thread that notices when the event loop is blocked, says by whom, and acts.

Nothing that runs in the loop can see that it is blocked. So a thread asks it for an answer, over
and over, and looks at its stack while none comes.

- After a second it warns: which task, step or body blocks the loop, at which line.
- When one culprit has blocked the loop for `Settings.blocked`, it is given up, and all else is
  handed over (`engine/handover/handover.py`). If the loop is blocked even then, the process ends.
- A process that is told to end does so although its loop cannot hear it.

Only time in which this thread runs as well counts: a process that is paused as a whole, or held up
by C code that keeps the interpreter to itself, is not blocked but late. A loop that is slow because
many have their turn is not blocked by any of them. A debugger may hold it for as long as it likes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from rewake import forks
from rewake.engine.handover.blocking import Block, find_block
from rewake.engine.handover.handover import hand_over
from rewake.engine.services import Services

log = logging.getLogger("rewake.watchdog")

ENDED = 70
"""The exit status of a process that ended because its loop stayed blocked."""
TELL = 1.0
"""Seconds after which a blocked loop is told of."""
TICK = 1.0
"""The longest time between two looks, in seconds."""
PATIENCE = 10.0
"""Seconds that the hand-over may take; leases that are still held then run out."""
WORD = 1.0
"""Seconds for a line of log: who blocks the loop may hold the log's lock as well."""


def _exit(status: int) -> None:
    """End the process, whatever else it does."""
    bounded(_last_words, WORD)
    os._exit(status)


def _last_words() -> None:
    forks.end_children()
    sys.stdout.flush()
    sys.stderr.flush()


class Watchdog:
    """Watches one event loop. `end` ends the process with a status."""

    def __init__(self, services: Services, *, end: Callable[[int], None] = _exit) -> None:
        self._services = services
        self._end = end
        self._limit = services.settings.blocked / 1000
        self._tick = min(TICK, self._limit / 4)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._watched = 0
        self._asked = self._answered = 0
        self._looked = 0.0
        self._silent = 0.0
        self._same = 0.0
        self._block: Block | None = None
        self._told = False
        self._ending: tuple[float, int] | None = None

    def open(self, *, threaded: bool = True) -> None:
        """Watch the loop that runs in the calling thread."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._looked = time.monotonic()
        self._ask()
        if threaded:
            self._thread = threading.Thread(target=self._run, name="rewake-watchdog", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def told_to_end(self, grace: float, status: int) -> None:
        """Let the process end with `status` if the loop is blocked for `grace` seconds from now on.

        Safe in a signal handler.
        """
        self._silent = 0.0
        self._ending = (grace, status)

    def _run(self) -> None:
        while not self._stop.wait(self._tick) and not self._loop.is_closed():
            self.look(time.monotonic())

    # --- one look --------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Check whether the loop has answered, and act if it has not for long."""
        # After a pause of the whole process, the time that passed was nobody's.
        passed, self._looked = min(now - self._looked, 2 * self._tick), now
        if self._answered == self._asked:
            return self._turns()
        if not self._loop.is_running():
            return self._forget()  # between two runs of it, nobody waits for anything
        self._silent += passed
        block = find_block(self._loop, self._watched)
        if block is None:
            return self._forget()
        turn = self._services.turns.get(block.run)
        if turn is not None and block.key in turn.steps:
            block = replace(block, kind="step")
        if self._block is None or not block.is_same_as(self._block):
            self._same = 0.0
        self._same += passed
        self._block = block
        if self._ending is not None and self._silent >= self._ending[0]:
            return self._end_blocked(self._ending[1])
        if self._same >= self._limit:
            return self._give_up(block)
        if not self._told and self._silent >= min(TELL, self._limit / 2):
            self._told = True
            _say(
                logging.WARNING, "the event loop is blocked, for %.1f s, by %s", self._silent, block
            )
        return None

    def _ask(self) -> None:
        self._asked += 1
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered = self._asked

    def _turns(self) -> None:
        if self._told and self._block is not None:
            said = "the event loop goes on; it was blocked for %.1f s, last by %s"
            _say(logging.WARNING, said, self._silent, self._block)
        self._forget()
        self._ask()

    def _forget(self) -> None:
        self._silent = self._same = 0.0
        self._block, self._told = None, False

    # --- what is done about it -------------------------------------------------------------

    def _give_up(self, block: Block) -> None:
        """Give up the culprit and hand all else over; end the process if that does not help."""
        reason = f"it blocked the event loop for {self._same:.0f} s, at {block.place}"
        said = (
            "the event loop is blocked, for %.1f s, by %s: it is given up, and all else handed over"
        )
        _say(logging.ERROR, said, self._silent, block)
        self._hand_over(block, reason)
        if self._answered == self._asked:
            return self._turns()
        _say(logging.CRITICAL, "the event loop stays blocked: this process ends")
        return self._end(ENDED)

    def _end_blocked(self, status: int) -> None:
        """End a process that was told to, in order, as far as that goes without its loop."""
        said = "told to end; the event loop is blocked by %s: all is handed over, this process ends"
        _say(logging.WARNING, said, self._block)
        self._hand_over(None, "")
        self._end(status)

    def _hand_over(self, block: Block | None, reason: str) -> None:
        # In a thread of its own: who blocks the loop may hold what this needs.
        bounded(lambda: asyncio.run(hand_over(self._services, block, reason)), PATIENCE)


def _say(level: int, message: str, *args: object) -> None:
    bounded(lambda: log.log(level, message, *args), WORD)


def bounded(work: Callable[[], object], seconds: float) -> None:
    """Do `work` in a thread, and wait for it no longer than that."""
    thread = threading.Thread(target=work, name="rewake-watchdog-work", daemon=True)
    thread.start()
    thread.join(seconds)
