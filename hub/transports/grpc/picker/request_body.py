"""The body of one request: held until its model is known, then passed on."""

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from hub.transports.grpc.picker.json_model import BadBody, JsonModel

MODEL_HEADER = "x-llm-hub-model"
"""Names the model of a request whose body does not, such as a form."""


class TooLong(Exception):
    """There is no room to hold the body."""


class HeldBytes:
    """How much the bodies of all requests hold, and may hold."""

    def __init__(self, *, per_request: int, in_all: int) -> None:
        self.per_request = per_request
        self.in_all = in_all
        self.taken = 0

    def take(self, count: int, so_far: int) -> None:
        """Takes room for more of a body that holds `so_far` bytes. Raises TooLong."""
        if so_far + count > self.per_request:
            raise TooLong(f"no model is named in the first {self.per_request} bytes of the body")
        if self.taken + count > self.in_all:
            raise TooLong("the gateway holds too many bodies; try again, with the model first")
        self.taken += count


# Enough for the system prompt and the first message of most conversations.
_HEAD_BYTES: Final = 65_536


class RequestBody:
    """Holds chunks and reads them once."""

    __slots__ = ("_chunks", "_held", "_length", "_named", "_scan")

    def __init__(self, headers: Mapping[str, str], held: HeldBytes) -> None:
        """Raises BadBody if the body cannot be read."""
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise BadBody(f"the body has the content-encoding {encoding}; send it as it is")
        self._held = held
        self._chunks: list[bytes] = []
        self._length = 0
        self._named = headers.get(MODEL_HEADER)
        is_form = headers.get("content-type", "").startswith("multipart/")
        self._scan = None if is_form else JsonModel()

    @property
    def model(self) -> str | None:
        """The model as far as it is known."""
        return self._scan.model if self._scan is not None else self._named

    def hold(self, chunk: bytes) -> None:
        """Takes a chunk. Raises BadBody, TooLong."""
        self._held.take(len(chunk), self._length)
        self._length += len(chunk)
        self._chunks.append(chunk)
        self.check(chunk)

    def check(self, chunk: bytes) -> None:
        """Reads a chunk that is not held. Raises BadBody."""
        if self._scan is not None:
            self._scan.feed(chunk)

    def head(self) -> bytes:
        """The beginning of a JSON body, as far as it is held."""
        if self._scan is None:
            return b""
        first = self._chunks[0] if self._chunks else b""
        if len(first) < _HEAD_BYTES and len(self._chunks) > 1:
            first = b"".join(self._chunks)
        return first[:_HEAD_BYTES]

    def finish(self) -> str:
        """The model, once the body has ended. Raises BadBody."""
        if self._scan is not None and self._length:
            return self._scan.model or self._scan.finish()
        if self._named is None:
            raise BadBody(f"the request names no model; the header {MODEL_HEADER} may")
        return self._named

    def take(self, model: str) -> tuple[Sequence[bytes], bool]:
        """The chunks, with that model in them, and whether they are changed; holds them no more."""
        chunks = self._chunks
        self.drop()
        scan = self._scan
        if scan is None or scan.model is None or scan.model == model:
            return chunks, False
        return _replaced(chunks, scan.start, scan.end, orjson.dumps(model)), True

    def drop(self) -> None:
        """Holds nothing any more. Idempotent."""
        self._held.taken -= self._length
        self._length, self._chunks = 0, []


def _replaced(chunks: Sequence[bytes], start: int, end: int, value: bytes) -> list[bytes]:
    """As many chunks, with `value` in place of the bytes from `start` to `end`."""
    changed, position = [], 0
    for chunk in chunks:
        first, last = start - position, end - position
        position += len(chunk)
        if last <= 0 or first >= len(chunk):
            changed.append(chunk)
            continue
        # A value that began in an earlier chunk is already replaced there.
        middle = value if first >= 0 else b""
        changed.append(chunk[: max(first, 0)] + middle + chunk[min(last, len(chunk)) :])
    return changed
