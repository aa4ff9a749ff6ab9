"""The ring of events, the logs of latest values, and the followers that read them."""
