"""For any ASGI server: `REWAKE_APP=app.py REWAKE_SECRET=... uvicorn handlers.asgi:app`.

Configured by the environment alone: `SETTINGS` in `rewake.hosts.config` has its variables.
"""

from rewake.hosts.building import app_from_env

app = app_from_env()
