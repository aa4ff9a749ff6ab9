"""Bodies that many readers are sent at a time: each reader pins a slice, not a copy."""

from collections.abc import Iterator
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

# asyncio copies what the socket does not take at once, so it is given little at a time;
# it is also from where on aiohttp waits for the reader.
_SLICE_BYTES: Final = 65_536


class SharedBody(Payload):
    """The body of a response, in memory once for all who read it."""

    _value: bytes

    def __init__(self, value: bytes, content_type: str) -> None:
        super().__init__(value, content_type=content_type)
        self._size = len(value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """See `Payload`."""
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """See `Payload`."""
        for part in _slices(self._value):
            await writer.write(part)
            await writer.drain()


async def write_shared(response: web.StreamResponse, block: bytes) -> None:
    """Writes a block of a stream. Raises ConnectionResetError."""
    for part in _slices(block):
        await response.write(part)


def _slices(value: bytes) -> Iterator[memoryview]:
    view = memoryview(value)
    for start in range(0, len(value), _SLICE_BYTES):
        yield view[start : start + _SLICE_BYTES]
