"""What a run deals with outside of itself: people, machines, signals, events, other runs."""
