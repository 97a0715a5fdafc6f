"""One invocation of a task."""
