"""Signing: the app's secret, and what is signed with it."""
