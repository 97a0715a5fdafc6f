"""For any WSGI server: `REWAKE_APP=app.py REWAKE_SECRET=... gunicorn handlers.wsgi:application`.

Configured by the environment alone: `SETTINGS` in `rewake.hosts.config` has its variables.
"""

from rewake.hosts.wsgi import WsgiApp

application = WsgiApp.from_env()
