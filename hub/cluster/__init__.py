"""Observed facts beyond one process: what a hub publishes, and what it restores at its start."""
