"""Durable storage: the `Store` protocol and its engines."""
