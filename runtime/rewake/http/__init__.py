"""The HTTP face: runs, approvals and the messages of replicas, as a Starlette app."""
