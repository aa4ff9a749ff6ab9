"""The one way in and what it does: dispatcher, access, changes, handlers, presence, metrics."""
