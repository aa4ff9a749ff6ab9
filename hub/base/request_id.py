"""Request ids, which link an error that a caller received to the lines of the log."""

import itertools
import secrets
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("request_id", default="")
# Differs between processes, so that a restarted hub does not repeat older ids.
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
