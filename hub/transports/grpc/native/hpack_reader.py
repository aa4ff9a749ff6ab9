"""Decodes header blocks (RFC 7541) in one pass, without an object per indexed field.

The `hpack` library decodes the same blocks, and the tests compare the two. It takes 20 µs
for the head of a call. Since `grpc-timeout` differs from call to call and shifts the indices
of the dynamic table, nearly every head must be decoded. This module uses that library's
tables and Huffman decoder.
"""

from collections.abc import Callable
from typing import Final

from hpack import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

Field = tuple[bytes, bytes]

TABLE_BYTES: Final = HeaderTable.DEFAULT_SIZE
"""The size limit of a client's dynamic table; the server announces no other one."""

_STATIC: Final[tuple[Field, ...]] = HeaderTable.STATIC_TABLE
_STATIC_COUNT: Final = len(_STATIC)
_MAX_INTEGER_BYTES: Final = 5
# Huffman decoding takes 0.3 µs per byte; names and many values repeat.
_REMEMBERED_STRINGS: Final = 64


class BadBlock(Exception):
    """The block is not valid HPACK; the table is now out of sync with the client's."""


class HpackReader:
    """Decodes the blocks of one connection, in the order in which they arrive."""

    __slots__ = ("_huffman", "_table", "changes")

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._huffman: dict[bytes, bytes] = {}
        self.changes = 0
        """The number of changes to the dynamic table."""

    def read(self, block: bytes) -> list[Field]:
        """The fields of a block. Raises BadBlock."""
        try:
            return self._read(block)
        except IndexError:
            raise BadBlock("an index of no entry, or a block that is cut short") from None
        except HPACKError as error:
            raise BadBlock(str(error)) from None

    def _read(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        append: Callable[[Field], None] = fields.append
        dynamic = self._table.dynamic_entries
        position, end = 0, len(block)
        while position < end:
            first = block[position]
            position += 1
            if first & 0x80:
                # Section 6.1: an indexed field.
                index = first & 0x7F
                if index == 0x7F:
                    index, position = _integer(block, position, index)
                if index > _STATIC_COUNT:
                    append(dynamic[index - _STATIC_COUNT - 1])
                else:
                    append(_static(index))
            elif first & 0x40:
                # Section 6.2.1: a literal with indexing.
                name, value, position = self._literal(block, position, first & 0x3F, 0x3F)
                append((name, value))
                self._table.add(name, value)
                self.changes += 1
            elif first & 0x20:
                # Section 6.3: a table size update, allowed only before the first field.
                size = first & 0x1F
                if size == 0x1F:
                    size, position = _integer(block, position, size)
                if fields or size > TABLE_BYTES:
                    raise BadBlock("a table size that is too large, or not at the start")
                self._table.maxsize = size
                self.changes += 1
            else:
                # Sections 6.2.2 and 6.2.3: a literal without indexing.
                name, value, position = self._literal(block, position, first & 0x0F, 0x0F)
                append((name, value))
        return fields

    def _literal(
        self, block: bytes, position: int, index: int, prefix: int
    ) -> tuple[bytes, bytes, int]:
        """The name and value of a literal, and the position after it."""
        if index == prefix:
            index, position = _integer(block, position, index)
        if not index:
            name, position = self._string(block, position)
        elif index > _STATIC_COUNT:
            name = self._table.dynamic_entries[index - _STATIC_COUNT - 1][0]
        else:
            name = _STATIC[index - 1][0]
        value, position = self._string(block, position)
        return name, value, position

    def _string(self, block: bytes, position: int) -> tuple[bytes, int]:
        """A string (section 5.2), and the position after it."""
        first = block[position]
        length = first & 0x7F
        position += 1
        if length == 0x7F:
            length, position = _integer(block, position, length)
        stop = position + length
        if stop > len(block):
            raise BadBlock("a string that is cut short")
        text = block[position:stop]
        if first & 0x80:
            text = self._unpacked(text)
        return text, stop

    def _unpacked(self, text: bytes) -> bytes:
        known = self._huffman.get(text)
        if known is not None:
            return known
        unpacked = decode_huffman(text)
        if len(text) <= _REMEMBERED_STRINGS:
            if len(self._huffman) >= _REMEMBERED_STRINGS:
                self._huffman.clear()
            self._huffman[text] = unpacked
        return unpacked


def _static(index: int) -> Field:
    if not index:
        raise BadBlock("the index 0")
    return _STATIC[index - 1]


def _integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """An integer that does not fit into its prefix (section 5.1), and the position after it."""
    value, shift = prefix, 0
    for count in range(_MAX_INTEGER_BYTES):
        byte = block[position + count]
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + count + 1
        shift += 7
    raise BadBlock("an integer of too many bytes")
