"""Flow-control windows (RFC 9113, sections 5.2 and 6.9)."""

from typing import Final

MAX_WINDOW: Final = 2**31 - 1
DEFAULT_WINDOW: Final = 65_535


class WindowOverflow(Exception):
    """A window would exceed 2^31-1 (section 6.9.1)."""


def grown(window: int, increment: int) -> int:
    """A send window after WINDOW_UPDATE or a change of its initial size. Raises WindowOverflow."""
    window += increment
    if window > MAX_WINDOW:
        raise WindowOverflow
    return window


class ReceiveWindow:
    """What the peer may still send, and the credit to return to it.

    Credit is returned in portions of at least half the window, so that small messages do
    not cost a WINDOW_UPDATE each.
    """

    __slots__ = ("_owed", "_size", "available")

    def __init__(self, size: int, announced: int) -> None:
        """A window of `size` bytes, of which the peer knows `announced`."""
        self._size = size
        self._owed = size - announced
        self.available = announced

    def receive(self, count: int) -> bool:
        """Takes `count` bytes from the window; False if the peer exceeded it."""
        self.available -= count
        return self.available >= 0

    def release(self, count: int) -> int:
        """Records that `count` bytes were handled; returns the increment to send, or 0."""
        self._owed += count
        if self._owed * 2 < self._size:
            return 0
        increment, self._owed = self._owed, 0
        self.available += increment
        return increment
