"""The measurements, with a module for each kind of work."""
