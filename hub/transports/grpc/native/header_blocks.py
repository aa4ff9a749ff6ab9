"""Header blocks (RFC 7541), decoded and encoded once while the dynamic table is unchanged.

A client that calls the same method again sends the same few indices, which mean the same
until something is added to the dynamic table. So a block whose decoding added nothing is
remembered until something is added. In the other direction the server indexes only fields
that have few values, so that its own table soon stops changing.
"""

from collections.abc import Iterable
from typing import Final

from hpack import Decoder, Encoder, HeaderTuple, HPACKError, NeverIndexedHeaderTuple
from hpack.table import HeaderTable, table_entry_size

from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import ConnectionFault

Field = tuple[bytes, bytes]
Fields = tuple[Field, ...]

# They have few values, so they go into the dynamic table. Other fields never do: a table
# that changes with each call is useless, and secrets do not belong there (section 7.1).
_INDEXED: Final = frozenset(
    (b":status", b"content-type", b"grpc-status", b"grpc-encoding", b"grpc-accept-encoding")
)
# The longest encoded block worth a place in memory.
_REMEMBERED_ENCODED_BYTES: Final = 512
_TABLE_BYTES: Final = 4_096


class _Table(HeaderTable):
    """A dynamic table that counts additions."""

    def __init__(self) -> None:
        super().__init__()
        self.additions = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.additions += 1
        super().add(name, value)


class HeaderList:
    """The fields of a header block, with what its readers have parsed from them."""

    __slots__ = ("fields", "meaning", "request", "size")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.size = sum(table_entry_size(name, value) for name, value in fields)
        """As SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113, section 6.5.2)."""
        self.request: object = None
        """The request head parsed from the fields."""
        self.meaning: object = None
        """What gRPC reads from it."""


class HeaderDecoder:
    """Decodes the header blocks of one connection, in the order in which they arrive."""

    __slots__ = ("_decoder", "_max_remembered", "_max_remembered_bytes", "_remembered", "_table")

    def __init__(
        self, *, max_list_bytes: int, max_remembered: int, max_remembered_bytes: int
    ) -> None:
        self._decoder = Decoder(max_list_bytes)
        self._table = _Table()
        self._decoder.header_table = self._table
        self._max_remembered = max_remembered
        self._max_remembered_bytes = max_remembered_bytes
        self._remembered: dict[bytes, HeaderList] = {}

    def decode(self, block: bytes) -> HeaderList:
        """The fields of a block. After ConnectionFault the table is out of step."""
        found = self._remembered.get(block)
        if found is not None:
            return found
        before = self._table.additions
        resizes = block[:1] and block[0] & 0xE0 == 0x20
        try:
            decoded = HeaderList(tuple(self._decoder.decode(block, raw=True)))
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"HPACK: {error}") from None
        if resizes or self._table.additions != before:
            self._remembered.clear()
        elif decoded.size <= self._max_remembered_bytes:
            if len(self._remembered) >= self._max_remembered:
                self._remembered.clear()
            self._remembered[block] = decoded
        return decoded


class HeaderEncoder:
    """Encodes the header blocks of one connection, in the order in which they are sent."""

    __slots__ = ("_encoder", "_max_remembered", "_remembered", "_table")

    def __init__(self, *, max_remembered: int) -> None:
        self._encoder = Encoder()
        self._table = _Table()
        self._encoder.header_table = self._table
        self._max_remembered = max_remembered
        self._remembered: dict[Fields, bytes] = {}

    def resize(self, table_bytes: int) -> None:
        """Applies the peer's SETTINGS_HEADER_TABLE_SIZE, of which the server uses up to 4,096."""
        table_bytes = min(table_bytes, _TABLE_BYTES)
        # The library loses a pending change if the same size is set again.
        if table_bytes == self._encoder.header_table_size:
            return
        self._remembered.clear()
        self._encoder.header_table_size = table_bytes
        # The peer needs only the smallest and the last change (section 4.2).
        changes = self._encoder.table_size_changes
        self._encoder.table_size_changes = [min(changes), changes[-1]]

    def encode(self, fields: Fields) -> bytes:
        """The block of these fields."""
        found = self._remembered.get(fields)
        if found is not None:
            return found
        before = self._table.additions
        resized = self._table.resized
        block = self._encoder.encode(_marked(fields))
        if resized or self._table.additions != before:
            self._remembered.clear()
        elif len(block) <= _REMEMBERED_ENCODED_BYTES:
            if len(self._remembered) >= self._max_remembered:
                self._remembered.clear()
            self._remembered[fields] = block
        return block


def _marked(fields: Fields) -> Iterable[HeaderTuple]:
    for name, value in fields:
        kind = HeaderTuple if name in _INDEXED else NeverIndexedHeaderTuple
        yield kind(name, value)
