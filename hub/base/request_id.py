"""An id for each request, so that an error that a caller got can be found in the log."""

import itertools
import secrets
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("request_id", default="")
# Different for each process, so that ids of a restarted hub are not mistaken for older ones.
_prefix = secrets.token_hex(4)
_numbers = itertools.count(1)


def begin() -> str:
    """Gives the current task a new request id, which the log adds to its events."""
    id_ = f"{_prefix}-{next(_numbers):x}"
    _current.set(id_)
    return id_


def current() -> str:
    """The request id of the current task, or ""."""
    return _current.get()
