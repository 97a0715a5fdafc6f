"""One app and one list of scenarios, played on every deployment that there is.

`app` is what a user writes; `scenarios` is what is done to it over HTTP, and what must be true;
`deployments` says where it runs. Each deployment is started once, and plays all scenarios at once:
first in peace, then while its servers are killed, paused and replaced. What bodies did is told
`outside` of all servers, and `judge` compares.

A new primitive is a workflow and a scenario; a new place to run is a deployment.
"""
