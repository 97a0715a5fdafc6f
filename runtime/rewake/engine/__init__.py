"""The engine: one invocation after the other, on four small protocols."""
