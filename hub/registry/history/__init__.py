"""The ring of events, the logs of latest values, and the follower that reads them."""
