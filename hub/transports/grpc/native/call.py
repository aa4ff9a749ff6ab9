"""One call, without a socket or an event loop: its messages, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub.transports.grpc.native.accounts import TokenAccount
from hub.transports.grpc.native.call_head import CallHead
from hub.transports.grpc.native.call_status import (
    Bound,
    CallFailed,
    Metadata,
    metadata_fields,
    trailer_fields,
)
from hub.transports.grpc.native.header_list import Fields
from hub.transports.grpc.native.http2_connection import Connection
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.message_framing import (
    Deframer,
    FramedOnce,
    framed_with_gzip,
    only_message,
)
from hub.transports.grpc.native.stream import Stream

_RESPONSE: Final[Fields] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
)
_GZIP: Final = (b"grpc-encoding", b"gzip")
_OK: Final = trailer_fields(0)
# A message of this size or more is sent by reference, separately from its prefix.
_BY_REFERENCE_BYTES: Final = 65_536
# The memory that a waiting message takes in addition to its bytes.
_MESSAGE_OVERHEAD: Final = 64


@dataclass(slots=True)
class CallContext:
    """What the calls of one connection share."""

    connection: Connection
    peer: str
    """The caller's IP address."""
    framing: FramedOnce
    max_message_bytes: int
    high_water: int
    """Above this many untaken or unread bytes of a call, the other side must wait."""
    flush: Callable[[], None]
    """Schedules a write of all pending output in this turn of the loop."""
    token: Callable[[str], TokenAccount]
    """Finds the account of a token."""
    exhausted: Callable[[Bound, str], CallFailed]
    """Makes the error of a call that exceeds a bound, from the bound and the peer."""
    known: bool = False
    """Whether a caller on this connection has shown a valid token."""
    certificate: bytes | None = None
    """The certificate that the client has shown, in DER."""

    def refused(self, bound: Bound) -> CallFailed:
        """The error of a call that exceeds a bound."""
        return self.exhausted(bound, self.peer)


class Call:
    """A call in progress. Handlers read its head and may set metadata and compression."""

    __slots__ = (
        "_answering",
        "_context",
        "_deframer",
        "_messages",
        "_owed",
        "_untaken",
        "compress",
        "deadline",
        "half_closed",
        "head",
        "initial_metadata",
        "over",
        "stream",
        "trailing_metadata",
    )

    def __init__(self, context: CallContext, stream: Stream, head: CallHead) -> None:
        self._context: Final = context
        self._deframer: Deframer | None = None
        # A deque would take 600 bytes while it is empty, as it nearly always is.
        self._messages: list[bytes] = []
        self._untaken = 0
        self._owed = 0
        self._answering = False
        self.stream: Final = stream
        self.head: Final = head
        self.deadline: float | None = None
        """When the caller stops waiting, in seconds of the loop's clock; None for never."""
        self.half_closed = False
        """Whether the client has sent everything."""
        self.over = False
        """Whether the call has ended, or the client has gone."""
        self.compress = False
        """Whether to compress messages with gzip if the client accepts that."""
        self.initial_metadata: Metadata = ()
        """Sent before the first message."""
        self.trailing_metadata: Metadata = ()
        """Sent with the status."""

    # What the handler knows about the caller.

    @property
    def certificate(self) -> bytes | None:
        """The certificate that the client has shown, in DER."""
        return self._context.certificate

    @property
    def peer(self) -> str:
        """The caller's IP address."""
        return self._context.peer

    def charge_to(self, token: str) -> TokenAccount:
        """Charges this call, and later ones with the same head, to a token's account."""
        account = self._context.token(token)
        payer = self._context.connection.outbox.payer.with_token(account)
        self.head.payer = self.stream.payer = payer
        return account

    def set_known(self) -> None:
        """Records that a caller on this connection has shown a valid token."""
        self._context.known = True

    # From the client.

    @property
    def buffered(self) -> int:
        """Bytes received that no handler has taken."""
        return self._untaken + (self._deframer.buffered if self._deframer else 0)

    @property
    def waiting(self) -> int:
        """The number of complete messages that no handler has taken."""
        return len(self._messages)

    def only_message(self, data: bytes) -> bytes | None:
        """The message where `data`, with which the client has said all, is exactly one."""
        if self._deframer is not None or self._messages:
            return None
        message = only_message(data, self._context.max_message_bytes)
        if message is not None:
            self.half_closed = True
            self._context.connection.release(self.stream, len(data))
        return message

    def receive(self, data: bytes, *, ended: bool) -> None:
        """Receives bytes of the body. Raises CallFailed."""
        self.half_closed = ended
        context = self._context
        if self._deframer is None:
            if not data:
                return
            message = only_message(data, context.max_message_bytes)
            if message is not None:
                self._add(message, len(data))
                return
            self._deframer = Deframer(context.max_message_bytes, gzip=self.head.gzip)
        messages = self._deframer.feed(data)
        for message in messages:
            self._add(message, 0)
        self._credit(len(data))

    @property
    def cut_short(self) -> bool:
        """Whether the request ended in the middle of a message."""
        return self.half_closed and self._deframer is not None and self._deframer.buffered > 0

    def take(self) -> bytes:
        """Takes the next message, which may let the client send more."""
        message = self._messages.pop(0)
        self._untaken -= len(message) + _MESSAGE_OVERHEAD
        if self._owed and self._untaken <= self._context.high_water:
            owed, self._owed = self._owed, 0
            if not self.over:
                self._context.connection.release(self.stream, owed)
        return message

    def _add(self, message: bytes, credit: int) -> None:
        self._messages.append(message)
        self._untaken += len(message) + _MESSAGE_OVERHEAD
        if credit:
            self._credit(credit)

    def _credit(self, count: int) -> None:
        """Lets the client send more, unless the handler is behind."""
        if self._untaken > self._context.high_water:
            self._owed += count
        else:
            self._context.connection.release(self.stream, count)

    # To the client.

    def send_head(self) -> None:
        """Sends the response head with the initial metadata, once."""
        if not self._answering:
            self._answering = True
            self._context.connection.outbox.headers(self.stream, self._head_fields())

    def send_message(self, message: bytes) -> None:
        """Sends a message, or queues it until a window allows it."""
        if not self._answering:
            self.send_head()
        outbox = self._context.connection.outbox
        if self.compress and self.head.accepts_gzip:
            outbox.message(self.stream, framed_with_gzip(message))
        elif len(message) < _BY_REFERENCE_BYTES:
            outbox.message(self.stream, self._context.framing.framed(message))
        else:
            prefix = b"\0" + len(message).to_bytes(4)
            outbox.parts(self.stream, (prefix, message))

    def reply(self, message: bytes) -> None:
        """Sends the only message, and ends the call with OK."""
        context, stream = self._context, self.stream
        if (
            len(message) < _BY_REFERENCE_BYTES
            and not (self._answering or self.compress)
            and not (self.initial_metadata or self.trailing_metadata)
            and context.connection.outbox.whole(
                stream, _RESPONSE, context.framing.framed(message), _OK
            )
        ):
            self._answering = self.over = True
            context.connection.discard(stream)
            return
        self.send_message(message)
        self.finish()

    def finish(self) -> None:
        """Ends the call with OK."""
        if not self._answering:
            self.send_head()
        metadata = self.trailing_metadata
        self._end((*_OK, *metadata_fields(metadata)) if metadata else _OK)

    def fail(self, code: int, message: str, metadata: Metadata = ()) -> None:
        """Ends the call with a status; sends only trailers if no head was sent."""
        trailers = trailer_fields(code, message, (*self.trailing_metadata, *metadata))
        self._end(trailers if self._answering else (*self._head_fields(), *trailers))

    def cancel(self, code: ErrorCode) -> None:
        """Ends the call at once, and drops what the client has not read."""
        if not self.over:
            self.over = True
            self._context.connection.reset(self.stream, code)

    def abandon(self) -> None:
        """Records that the stream has ended."""
        self.over = True

    def _end(self, trailers: Fields) -> None:
        if self.over:
            return
        self.over = True
        self._context.connection.discard(self.stream)
        self._context.connection.outbox.end(self.stream, trailers)

    def _head_fields(self) -> Fields:
        fields = _RESPONSE
        if self.compress and self.head.accepts_gzip:
            fields = (*fields, _GZIP)
        if self.initial_metadata:
            fields = (*fields, *metadata_fields(self.initial_metadata))
        return fields
