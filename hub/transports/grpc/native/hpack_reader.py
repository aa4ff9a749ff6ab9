"""Decodes header blocks (RFC 7541) in one pass, without an object per indexed field.

The `hpack` library decodes the same blocks, and the tests compare the two. It takes 20 µs
for the head of a call. Since `grpc-timeout` differs from call to call and shifts the indices
of the dynamic table, nearly every head must be decoded. This module uses that library's
static table.
"""

from collections.abc import Callable
from typing import Final

from hpack import HPACKError
from hpack.table import HeaderTable

from hub.transports.grpc.native import huffman
from hub.transports.grpc.native.dynamic_table import TABLE_BYTES, DynamicTable, Field
from hub.transports.grpc.native.repeated_head import RepeatedHead

_STATIC: Final[tuple[Field, ...]] = HeaderTable.STATIC_TABLE
_STATIC_COUNT: Final = len(_STATIC)
_MAX_INTEGER_BYTES: Final = 5
# Names and many values repeat.
_REMEMBERED_STRINGS: Final = 64


class BadBlock(Exception):
    """The block is not valid HPACK; the table is now out of sync with the client's."""


class HpackReader:
    """Decodes the blocks of one connection, in the order in which they arrive."""

    __slots__ = ("_huffman", "_table", "added", "changes")

    def __init__(self) -> None:
        self._table = DynamicTable()
        self._huffman: dict[bytes, bytes] = {}
        self.added = 0
        """The number of fields that were added to the dynamic table."""
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

    def newest_is(self, name: bytes) -> bool:
        """Whether the entry that was added last is a field of that name."""
        entries = self._table.entries
        return bool(entries) and entries[0][0] == name

    def read_repeated(self, head: RepeatedHead, block: bytes, name: bytes) -> bytes | None:
        """The value of the field `name` in a block that otherwise repeats `head`.

        None, and nothing is read, if it does not, or if the value is not alphanumeric.
        Raises BadBlock.
        """
        entries = self._table.entries
        coded = head.literal(block, self.added, len(entries))
        if coded is None or not entries or entries[0][0] != name:
            return None
        value = coded[1:]
        if coded[0] & 0x80:
            try:
                value = huffman.decoded(value)
            except HPACKError as error:
                raise BadBlock(str(error)) from None
        if not value.isalnum():
            return None
        self._add((name, value))
        if not head.fits(self.added, len(entries)):
            raise BadBlock("an index of no entry")
        return value

    def _add(self, field: Field) -> None:
        self._table.add(field)
        self.added += 1
        self.changes += 1

    def _read(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        append: Callable[[Field], None] = fields.append
        dynamic = self._table.entries
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
                self._add((name, value))
            elif first & 0x20:
                # Section 6.3: a table size update, allowed only before the first field.
                size = first & 0x1F
                if size == 0x1F:
                    size, position = _integer(block, position, size)
                if fields or size > TABLE_BYTES:
                    raise BadBlock("a table size that is too large, or not at the start")
                self._table.resize(size)
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
            name = self._table.entries[index - _STATIC_COUNT - 1][0]
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
        unpacked = huffman.decoded(text)
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
