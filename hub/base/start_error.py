"""Why a hub does not start."""


class StartError(Exception):
    """The hub cannot start; the message is one line for people."""
