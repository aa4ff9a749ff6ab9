"""The dynamic table of a client's header blocks (RFC 7541, sections 2.3.2 and 4)."""

from collections import deque
from typing import Final

Field = tuple[bytes, bytes]

TABLE_BYTES: Final = 4_096
"""The size limit of a client's dynamic table; the server announces no other one."""

_ENTRY_OVERHEAD: Final = 32


class DynamicTable:
    """The fields that a client has added, the newest first, up to a size."""

    __slots__ = ("_max_size", "_size", "entries")

    def __init__(self) -> None:
        self._max_size = TABLE_BYTES
        self._size = 0
        self.entries: deque[Field] = deque()

    def add(self, field: Field) -> None:
        """Adds a field, and evicts the oldest ones if there is no room for it (section 4.4)."""
        self.entries.appendleft(field)
        self._size += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
        if self._size > self._max_size:
            self._evict()

    def resize(self, max_size: int) -> None:
        """Changes the largest size, in bytes (section 4.3)."""
        self._max_size = max_size
        self._evict()

    def _evict(self) -> None:
        entries = self.entries
        while self._size > self._max_size:
            name, value = entries.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD
