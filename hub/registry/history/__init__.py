"""The ring of events and the logs of what changed last."""
