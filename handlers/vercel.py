"""For Vercel, as `api/index.py`: an ASGI app that takes all requests.

Configured by the environment alone, as any server; `REWAKE_DISPATCHER` must be one that sends
messages, and `REWAKE_DB` a database that all instances share.
"""

from rewake.hosts.building import app_from_env
from rewake.hosts.own_loop import OwnLoop

app = OwnLoop(app_from_env(platform="vercel"))
