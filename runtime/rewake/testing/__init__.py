"""The door for tests of workflows: a whole server in memory, in virtual time.

from rewake.testing import Environment

def test_trial():
with Environment(trial) as server:         # the module with the workflows
run = server.start(trial.trial, "ada")
server.advance(timedelta(days=12))     # nothing but this moves its time,
assert server.get(run.id)["state"] == "waiting"
assert run.result() == "..."           # and waiting, which jumps to what is due
"""

from __future__ import annotations

from rewake.testing.environment import AsyncEnvironment, Environment
from rewake.testing.outsider import Response

__all__ = ["AsyncEnvironment", "Environment", "Response"]
