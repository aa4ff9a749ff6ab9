"""The doors: bytes in, bytes out, and no decision about the registry."""
