"""The server processes that are measured: the hub, and the bare-library floors."""
