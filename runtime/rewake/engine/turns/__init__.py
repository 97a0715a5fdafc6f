"""One invocation of a run: replay, what is new, commits."""
