"""Asking on the terminal for the approvals that a run, and the runs below it, wait for."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from rewake.authoring.approval import Approval, Decision
from rewake.authoring.binding import call_text
from rewake.cli.exits import tell
from rewake.cli.local.progress import Progress
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.errors import InvalidInput, RewakeError
from rewake.spelled import spelled
from rewake.views.approvals import ApprovalView


class Asker:
    """Asks for one approval at a time; without a terminal, it says which command decides."""

    def __init__(
        self, engine: Engine, run: str, display: Progress, command: Callable[[str, str], str]
    ) -> None:
        self._engine = engine
        self._run = run
        self._display = display
        self._command = command
        self._met: set[tuple[str, str]] = set()
        self._here = ("", "")
        self._asking: asyncio.Task[None] | None = None
        self._someone = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def update(self, approvals: Mapping[tuple[str, str], ApprovalView]) -> None:
        """Ask for these, by run and key: the approvals that are open now."""
        if self._asking is not None and self._here not in approvals:
            self.close()
        for here, approval in approvals.items():
            if here in self._met or (self._someone and self._asking is not None):
                continue
            self._met.add(here)
            if self._someone:
                self._here = here
                self._asking = asyncio.ensure_future(self._ask(here[0], approval))
            else:
                self._hint(*here)

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _hint(self, run: str, key: str) -> None:
        of = "" if run == self._run else f" of run {run}"
        tell(f"waiting for a decision on {key}{of}: {self._command(run, key)}   (or --reject)")

    async def _ask(self, run: str, approval: ApprovalView) -> None:
        with self._display.aside():
            try:
                while not await self._decided(run, approval):
                    pass
            except EOFError:
                self._hint(run, approval.key)
            except RewakeError as error:
                tell(str(error))
            except asyncio.CancelledError:
                tell("\n(no answer is needed any more)")
                raise
        self._asking = None

    async def _decided(self, run: str, approval: ApprovalView) -> bool:
        """Ask once; what does not fit the form is told, and asked again."""
        answer = await _answer(approval, "" if run == self._run else f" of run {run}")
        try:
            await Approvals(self._engine).decide(run, approval.key, answer)
        except InvalidInput as error:
            tell(str(error))
            return False
        return True


async def _answer(approval: ApprovalView, of: str) -> Approval:
    """The answer of the person at the terminal. Raises `EOFError` if they leave."""
    tell(f"\n{approval.name} ({spelled(approval.key)}){of} waits for a decision.")
    if approval.description:
        tell(f"  {approval.description}")
    if approval.binds:
        tell(f"  calls {call_text(approval.binds)}")
    if approval.deadline:
        tell(f"  until {approval.deadline}")
    approved = await _yes_or_no("approve? [y/n] ")
    is_asked = approved and not approval.binds  # a call is approved here as it is
    value = await _filled_in(approval.form) if is_asked else None
    comment = await read_line("comment (may be empty): ")
    decision = Decision.APPROVED if approved else Decision.REJECTED
    return Approval(decision, value, os.environ.get("USER"), comment or None)


async def _yes_or_no(question: str) -> bool:
    while True:
        answer = (await read_line(question)).lower()
        if answer in ("y", "yes", "n", "no"):
            return answer.startswith("y")


async def _filled_in(form: Any) -> dict[str, Any] | None:
    """An answer for each field of a form (a JSON Schema of an object, or its properties)."""
    if not isinstance(form, Mapping) or not form:
        return None
    fields = form.get("properties", form)
    required = form.get("required", ())
    filled: dict[str, Any] = {}
    for name, schema in fields.items():
        found = await _field(name, schema if isinstance(schema, Mapping) else {}, name in required)
        if found is not None:
            filled[name] = found
    return filled


async def _field(name: str, schema: Mapping[str, Any], required: bool) -> Any:
    kind = schema.get("type", "JSON or text")
    choice = f", one of {json.dumps(schema['enum'])}" if "enum" in schema else ""
    while True:
        text = await read_line(f"  {name} ({kind}{choice}): ")
        if text == "" and not required:
            return schema.get("default")
        found = text if kind == "string" else _json_or_text(text)
        if _fits(found, schema):
            return found
        tell(f"  that is not {kind}{choice}")


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    types = _TYPES.get(str(schema.get("type")))
    if types is not None and (type(value) not in types):
        return False
    return "enum" not in schema or value in schema["enum"]


async def read_line(prompt: str) -> str:
    """A line from the terminal, read without a thread, which could not be interrupted.

    Raises `EOFError`.
    """
    sys.stderr.write(prompt)
    sys.stderr.flush()
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(0, ready.set)
    try:
        await ready.wait()
        # One read from a terminal gets a whole line.
        data = os.read(0, 65536)
    finally:
        loop.remove_reader(0)
    if not data:
        raise EOFError
    return data.decode(errors="replace").strip()
