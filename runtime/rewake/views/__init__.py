"""Views: what anybody is shown of a run."""
