"""A name for each request, so that what a caller was told can be found in the log."""

import itertools
import secrets
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("request_id", default="")
# Different for each process, so that ids of a restarted hub are not mistaken for older ones.
_prefix = secrets.token_hex(4)
_numbers = itertools.count(1)


def begin() -> str:
    """Gives the work of this task a new id, which the log adds to every event of it."""
    id_ = f"{_prefix}-{next(_numbers):x}"
    _current.set(id_)
    return id_


def current() -> str:
    """The id of what this task works on, or ""."""
    return _current.get()
