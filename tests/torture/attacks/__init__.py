"""Attacks on a hub, a family per module; each runs in a process of its own until it is ended."""
