"""Parses one HTTP/1.1 response from bytes, within bounds, without a socket.

llhttp, through httptools, does the parsing. The bounds apply to the bytes up to the end of
the final head, including informational responses (1xx), and to the body.
"""

from collections.abc import Callable
from typing import Final

import httptools

from hub.probes.faults import BadAnswer, ProbeError, Unreachable, shown

MAX_HEAD_BYTES: Final = 16_384
"""Maximum bytes from the request to the end of the final head, with informational responses."""

_KEPT_FIELDS: Final = frozenset(
    (
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"location",
        b"retry-after",
        b"server",
        b"transfer-encoding",
    )
)
_SWITCHING_PROTOCOLS: Final = 101


class BoundedResponse:
    """One response: takes bytes, provides status, fields and body.

    `path` is the requested path, for error messages. `on_head` is called once, when the
    final head is complete. `close` ends the response; a complete one closes itself.
    """

    def __init__(self, path: str, max_body_bytes: int, on_head: Callable[[], None]) -> None:
        self.status = 0
        self.is_complete = False
        self.has_head = False
        self.body_bytes = 0
        # Whether the connection may carry another request.
        self.keeps_alive = False
        # Whether bytes arrived that belong to no request.
        self.has_surplus = False
        self._path = path
        self._max_body_bytes = max_body_bytes
        self._on_head = on_head
        self._room = MAX_HEAD_BYTES
        self._fields: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._fault: ProbeError | None = None
        parser = httptools.HttpResponseParser(self)
        # Some servers send these, and every HTTP client accepts them.
        parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._parser: httptools.HttpResponseParser | None = parser

    @property
    def body(self) -> bytes:
        """The body received so far."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def field(self, name: bytes) -> str:
        """The first value of one of the kept header fields; "" if it was not sent."""
        return self._fields.get(name, b"").decode("utf-8", "surrogateescape")

    def feed(self, data: bytes) -> None:
        """Processes bytes. Raises BadAnswer, and must not be called again after it."""
        if not self.has_head:
            head, data = data[: self._room], data[self._room :]
            self._room -= len(head)
            self._parse(head)
            if not data:
                return
            if not self.has_head:
                raise BadAnswer(
                    f"sent more than {MAX_HEAD_BYTES:,} bytes before the head of its answer"
                )
        self._parse(data)

    def feed_eof(self) -> None:
        """Processes the end of the connection. Raises Unreachable if it is too early.

        A body without a length ends with its connection (RFC 9112, section 6.3).
        """
        if self.is_complete:
            return
        if not self.has_head:
            raise Unreachable(f"closed the connection without an answer to {self._path}")
        if not self._fields.keys().isdisjoint((b"content-length", b"transfer-encoding")):
            raise Unreachable(f"broke off in the middle of its answer to {self._path}")
        self._complete()

    def close(self) -> None:
        """Releases the parser, which refers to the response in turn."""
        self._parser = None

    def _complete(self) -> None:
        self.is_complete = True
        self.close()

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            self.has_surplus = self.has_surplus or bool(data)
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The connection has switched to another protocol.
            self.keeps_alive = False
        except httptools.HttpParserError:
            # Bytes after a complete answer are a different fault: see `has_surplus`.
            if not self.is_complete:
                raise BadAnswer(f"did not answer in HTTP to {self._path}") from None
            self.has_surplus = True
        if self._fault is not None:
            raise self._fault

    # Callbacks of httptools, which wraps any exception that they raise.

    def on_message_begin(self) -> None:
        """See httptools."""
        if self.is_complete:
            self.has_surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Drops trailers and the fields that no probe uses."""
        if not self.has_head:
            name = name.lower()
            if name in _KEPT_FIELDS:
                self._fields.setdefault(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        parser = self._parser
        if self.has_head or parser is None:
            return
        status = parser.get_status_code()
        if 100 <= status < 200 and status != _SWITCHING_PROTOCOLS:
            # No request expects informational responses.
            self._fields.clear()
            return
        self.status = status
        self.has_head = True
        self._on_head()
        encoding = self.field(b"content-encoding").strip().lower()
        if encoding not in ("", "identity"):
            self._fault = BadAnswer(
                f"compressed its answer to {self._path} ({shown(encoding, 20)})"
            )
        length = self._fields.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self._max_body_bytes:
            self._fault = self._too_large()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if self.is_complete or self._fault is not None:
            return
        self.body_bytes += len(body)
        if self.body_bytes > self._max_body_bytes:
            self._fault = self._too_large()
            return
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        parser = self._parser
        if not self.has_head or parser is None:
            return
        self.keeps_alive = parser.should_keep_alive()
        self._complete()

    def _too_large(self) -> BadAnswer:
        return BadAnswer(f"answered more than {self._max_body_bytes:,} bytes to {self._path}")
