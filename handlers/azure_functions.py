"""For Azure Functions, as `function_app.py`: one function takes all requests, one sweeps.

Configured by the environment alone, as any server; `REWAKE_DISPATCHER` must be one that sends
messages, and `REWAKE_DB` a database that all instances share. Rewake checks who may call.
"""

import azure.functions as func

from rewake.hosts import pausing
from rewake.hosts.building import app_from_env

served = app_from_env(platform="azure-functions")
app = func.AsgiFunctionApp(app=served, http_auth_level=func.AuthLevel.ANONYMOUS)


@app.timer_trigger(arg_name="timer", schedule="0 * * * * *")
async def sweep(timer: func.TimerRequest) -> None:  # noqa: ARG001
    await pausing.sweep(served, seconds=50)
