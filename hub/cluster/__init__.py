"""Observed facts beyond one process: what a hub publishes of them, and what it restores."""
