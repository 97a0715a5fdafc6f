"""The engine: one invocation after the other, on three small protocols."""
