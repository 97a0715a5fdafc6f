"""The replay core: sans-IO, and all that must be exact. See `rewake.replay.execution`."""
