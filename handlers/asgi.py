"""For any ASGI server: `REWAKE_APP=app.py REWAKE_SECRET=... uvicorn handlers.asgi:app`.

Configured by the environment alone; `rewake.hosts.server` has the table of its variables.
"""

from rewake.hosts.server import app_from_env

app = app_from_env()
