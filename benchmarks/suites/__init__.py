"""The measurements, one module a kind of work."""
