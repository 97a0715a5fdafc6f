"""For Azure Functions, as `function_app.py`: one function that takes all requests.

Configured by the environment alone, as any server; `REWAKE_DISPATCHER` must be one that sends
messages, and `REWAKE_DB` a database that all instances share. Rewake checks who may call.
"""

import azure.functions as func

from rewake.hosts.building import app_from_env

app = func.AsgiFunctionApp(
    app=app_from_env(platform="azure-functions"), http_auth_level=func.AuthLevel.ANONYMOUS
)
