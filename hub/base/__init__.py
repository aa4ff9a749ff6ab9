"""Leaves without a domain: addresses, the clock, tasks, settings, the version."""
