"""The registry: pure state, no sockets, no clock, no store."""
