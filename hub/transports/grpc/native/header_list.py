"""The fields of a header block, with what their readers have parsed from them."""

from hpack.table import table_entry_size

from hub.transports.grpc.native.dynamic_table import Field

Fields = tuple[Field, ...]


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
