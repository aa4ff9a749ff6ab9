"""Recognizes a header block that repeats the fields of an earlier one with another deadline.

A client that uses the dynamic table sends a call's head as one byte for each field, and its
`grpc-timeout` as a literal that it adds to the table. That moves every index by one, so no
two of these blocks are equal. They are equal once each index is taken back by the number
of fields that were added meanwhile.
"""

from typing import Final

from hub.transports.grpc.native.header_list import HeaderList

_FIRST_DYNAMIC: Final = 62
# An indexed field in one byte has the first bit set; 0x80 is no index, 0xFF begins a long one.
_LOWEST: Final = 0x81
_LOWEST_DYNAMIC: Final = 0x80 | _FIRST_DYNAMIC
_HIGHEST: Final = 0xFE
_MOST_MOVED: Final = _HIGHEST - _LOWEST_DYNAMIC
# A literal that is added to the table, with the name of its newest entry.
_NEWEST_NAME: Final = 0x40 | _FIRST_DYNAMIC
_LENGTH: Final = 0x7F


def _taken_back(moved: int) -> bytes:
    """Maps each index to what it was before `moved` additions, and other bytes to 0."""
    return bytes(
        byte
        if _LOWEST <= byte < _LOWEST_DYNAMIC
        else byte - moved
        if _LOWEST_DYNAMIC + moved <= byte <= _HIGHEST
        else 0
        for byte in range(256)
    )


_BACK: Final = tuple(map(_taken_back, range(_MOST_MOVED + 1)))


class RepeatedHead:
    """A block of one-byte indices around one literal, and what it meant."""

    __slots__ = ("_added", "_after", "_before", "_count", "_oldest", "_oldest_after", "headers")

    def __init__(self, before: bytes, after: bytes, added: int, headers: HeaderList) -> None:
        """The indices before and after the literal, and the fields without the literal.

        `added` is the number of fields that were in the table before this block, those that
        were evicted included.
        """
        self._before, self._after, self._added = before, after, added
        self._count = len(before)
        self._oldest = max(before, default=0) - _LOWEST_DYNAMIC
        self._oldest_after = max(after, default=0) - _LOWEST_DYNAMIC
        self.headers = headers
        """The other fields."""

    @classmethod
    def of(cls, block: bytes, added: int, headers: HeaderList) -> "RepeatedHead | None":
        """The head of a block that has this form, else None."""
        start, end = 0, len(block)
        while start < end and _LOWEST <= block[start] <= _HIGHEST:
            start += 1
        if end - start < 2 or block[start] != _NEWEST_NAME or block[start + 1] & _LENGTH == _LENGTH:
            return None
        after = block[start + 2 + (block[start + 1] & _LENGTH) :]
        if any(not _LOWEST <= byte <= _HIGHEST for byte in after):
            return None
        return cls(block[:start], after, added, headers)

    def literal(self, block: bytes, added: int, entries: int) -> bytes | None:
        """The coded value of the literal, if the rest of the block means the same as before.

        Its first byte has the flag of Huffman's code and the length (RFC 7541, section 5.2).
        `entries` is the number of fields in the table.
        """
        moved = added - self._added
        count = self._count
        if moved > _MOST_MOVED or self._oldest + moved >= entries or len(block) < count + 2:
            return None
        back = _BACK[moved]
        start = count + 1
        length = block[start] & _LENGTH
        stop = start + 1 + length
        if (
            block[:count].translate(back) != self._before
            or block[count] != _NEWEST_NAME
            or length == _LENGTH
            or stop > len(block)
            or block[stop:].translate(back) != self._after
        ):
            return None
        return block[start:stop]

    def fits(self, added: int, entries: int) -> bool:
        """Whether the indices after the literal, which has been added, still have entries."""
        return self._oldest_after + added - 1 - self._added < entries
