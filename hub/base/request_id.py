"""Request ids, which link an error that a caller received to the lines of the log."""

import itertools
import secrets
from contextvars import ContextVar

# The number of an id, which costs less than its text; a call that succeeds shows no id.
_current: ContextVar[int] = ContextVar("request_id", default=0)
# Differs between processes, so that a restarted hub does not repeat older ids.
_prefix = secrets.token_hex(4)
_numbers = itertools.count(1)


def begin() -> int:
    """Gives the current task a new request id, which the log adds to its events.

    Returns its number; `text` makes the id of it.
    """
    number = next(_numbers)
    _current.set(number)
    return number


def text(number: int) -> str:
    """The request id with a number."""
    return f"{_prefix}-{number:x}"


def current() -> str:
    """The request id of the current task, or ""."""
    number = _current.get()
    return text(number) if number else ""
