"""Watchers of sessions: they see every step and act on none."""
