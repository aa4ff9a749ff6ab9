"""The error of a hub that cannot start."""


class StartError(Exception):
    """The hub cannot start; the message is one line for people."""
