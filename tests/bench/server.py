"""A server of the measured workflows, configured by the environment."""

from __future__ import annotations

from rewake.app import App
from rewake.hosts.config import ServerConfig
from rewake.hosts.server import end_process, serve
from tests.bench import durability, programs

if __name__ == "__main__":
    durability.watch()
    serve(ServerConfig.from_env(), App(programs))
    end_process(0)
