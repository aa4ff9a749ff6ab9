"""Header blocks (RFC 7541), decoded and encoded once while the dynamic table is unchanged.

A client that calls the same method again sends the same few indices, which mean the same
until something is added to the dynamic table. So a block whose decoding added nothing is
remembered until something is added. A deadline differs from call to call and adds an entry:
such a block is compared with the last ones (see `repeated_head`). In the other
direction the server indexes only fields that have few values, so that its own table soon
stops changing.
"""

from collections.abc import Iterable
from typing import Final, TypeVar

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.table import HeaderTable

from hub.transports.grpc.native.dynamic_table import Field
from hub.transports.grpc.native.header_list import Fields, HeaderList
from hub.transports.grpc.native.hpack_reader import BadBlock, HpackReader
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import ConnectionFault
from hub.transports.grpc.native.repeated_head import RepeatedHead

K = TypeVar("K")
V = TypeVar("V")

# They have few values, so they go into the dynamic table. Other fields never do: a table
# that changes with each call is useless, and secrets do not belong there (section 7.1).
_INDEXED: Final = frozenset(
    (b":status", b"content-type", b"grpc-status", b"grpc-encoding", b"grpc-accept-encoding")
)
# Longer encoded blocks are not remembered.
_REMEMBERED_ENCODED_BYTES: Final = 512
_TABLE_BYTES: Final = 4_096
# Blocks that differ only in the deadline: a client seldom calls more methods in turn.
_REPEATED_HEADS: Final = 4
# The size of a list with more fields is checked before anything else is done with it.
_MANY_FIELDS: Final = 64


class _Table(HeaderTable):
    """A dynamic table that counts additions."""

    def __init__(self) -> None:
        super().__init__()
        self.additions = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.additions += 1
        super().add(name, value)


class HeaderDecoder:
    """Decodes the header blocks of one connection, in the order in which they arrive.

    The field named `apart` is returned separately, because its value differs for each
    call. The other fields repeat, so calls with the same ones share one `HeaderList`.
    """

    __slots__ = (
        "_apart",
        "_blocks",
        "_changes",
        "_lately",
        "_lists",
        "_max_list_bytes",
        "_max_remembered",
        "_max_remembered_bytes",
        "_reader",
    )

    def __init__(
        self, *, max_list_bytes: int, max_remembered: int, max_remembered_bytes: int, apart: bytes
    ) -> None:
        self._reader = HpackReader()
        self._apart = apart
        self._max_list_bytes = max_list_bytes
        self._max_remembered = max_remembered
        self._max_remembered_bytes = max_remembered_bytes
        # Keyed by the block; emptied when the table changes. `_lists` is keyed by the fields.
        self._blocks: dict[bytes, tuple[HeaderList, bytes]] = {}
        self._changes = 0
        self._lists: dict[Fields, HeaderList] = {}
        self._lately: list[RepeatedHead] = []

    def decode(self, block: bytes) -> tuple[HeaderList, bytes]:
        """The fields of a block without the `apart` field, and the value of that field or b"".

        Raises ConnectionFault; the dynamic table is then out of sync.
        """
        found = self._blocks.get(block)
        if found is not None:
            return found
        reader, added = self._reader, self._reader.added
        try:
            for head in self._lately:
                value = reader.read_repeated(head, block, self._apart)
                if value is not None:
                    self._changes = reader.changes
                    self._blocks.clear()
                    return head.headers, value
            fields = reader.read(block)
        except BadBlock as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"HPACK: {error}") from None
        if len(fields) > _MANY_FIELDS:
            self._require_short(HeaderList(tuple(fields)))
        apart = self._pop_apart(fields)
        key = tuple(fields)
        headers = self._lists.get(key)
        if headers is None:
            headers = HeaderList(key)
            self._require_short(headers)
            if headers.size <= self._max_remembered_bytes:
                _remember(self._lists, key, headers, self._max_remembered)
        changes = reader.changes
        if changes != self._changes:
            self._changes = changes
            self._blocks.clear()
            # The block's literal must be the field that is apart: any other one is its own.
            is_alone = apart and reader.newest_is(self._apart)
            if is_alone and headers.size <= self._max_remembered_bytes:
                self._note(RepeatedHead.of(block, added, headers))
        elif headers.size <= self._max_remembered_bytes:
            _remember(self._blocks, block, (headers, apart), self._max_remembered)
        return headers, apart

    def _note(self, head: RepeatedHead | None) -> None:
        """Remembers a head in the place of an older one of the same fields."""
        if head is not None:
            others = [other for other in self._lately if other.headers is not head.headers]
            self._lately = [head, *others[: _REPEATED_HEADS - 1]]

    def _pop_apart(self, fields: list[Field]) -> bytes:
        """Removes the `apart` field, unless it is malformed, repeated or misplaced."""
        names = [field[0] for field in fields]
        if self._apart not in names:
            return b""
        position = names.index(self._apart)
        value, after = fields[position][1], names[position + 1 :]
        # A malformed or repeated field stays in place, so that later checks see it.
        if not value.isalnum() or any(name == self._apart or name[:1] == b":" for name in after):
            return b""
        del fields[position]
        return value

    def _require_short(self, headers: HeaderList) -> None:
        if headers.size > self._max_list_bytes:
            raise ConnectionFault(
                ErrorCode.COMPRESSION_ERROR, f"a header list of {headers.size} bytes"
            )


class HeaderEncoder:
    """Encodes the header blocks of one connection, in the order in which they are sent."""

    __slots__ = ("_encoder", "_max_remembered", "_remembered", "_table", "changes")

    def __init__(self, *, max_remembered: int) -> None:
        self.changes = 0
        """How often blocks of the same fields have become others."""
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
        self._forget()
        self._encoder.header_table_size = table_bytes
        # The peer needs only the smallest and the last change (section 4.2).
        changes = self._encoder.table_size_changes
        self._encoder.table_size_changes = [min(changes), changes[-1]]

    def encode(self, fields: Fields) -> bytes:
        """Encodes fields as a block."""
        found = self._remembered.get(fields)
        if found is not None:
            return found
        before = self._table.additions
        resized = self._table.resized
        block = self._encoder.encode(_marked(fields))
        if resized or self._table.additions != before:
            self._forget()
        elif len(block) <= _REMEMBERED_ENCODED_BYTES:
            _remember(self._remembered, fields, block, self._max_remembered)
        return block

    def _forget(self) -> None:
        self._remembered.clear()
        self.changes += 1


def _remember(known: dict[K, V], key: K, value: V, most: int) -> None:
    if len(known) >= most:
        known.clear()
    known[key] = value


def _marked(fields: Fields) -> Iterable[HeaderTuple]:
    for name, value in fields:
        kind = HeaderTuple if name in _INDEXED else NeverIndexedHeaderTuple
        yield kind(name, value)
