"""`rewake doctor --server`: a running server checks itself, and its clock is set beside ours."""

from __future__ import annotations

import asyncio

import msgspec

from rewake.cli.exits import Exit
from rewake.cli.findings import show_findings
from rewake.cli.home import find_token
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.clock import SystemClock
from rewake.doctor.findings import Finding, carried_out
from rewake.doctor.front import clocks
from rewake.doctor.host import PATIENCE, checks_of_host


def examine_host(url: str, longest: float, json: bool) -> Exit:
    """Find out from here what its host carries. `longest`: seconds that an answer is let take."""
    checks = checks_of_host(url, find_token(), longest)
    return show_findings(asyncio.run(carried_out(checks, PATIENCE)), json=json)


def examine(url: str, json: bool) -> Exit:
    """Ask it for what it finds."""

    async def call(client: Client) -> Exit:
        answer = (await client.post("doctor", body={})).body
        now = SystemClock().now()
        found = msgspec.convert(answer["findings"], list[Finding])
        # The clock is read when all is done, so the answer's way is all that lies between.
        ours = msgspec.structs.replace(clocks(answer["now"], now, now), check="your clock")
        return show_findings([*found, ours], json=json)

    return Server(url).ask(call)
