"""The states of a stream as a server sees them (RFC 9113, section 5.1).

    idle                 an id above every id seen; it has no object
    open                 HEADERS received; both sides may send
    half-closed (remote) the client sent END_STREAM; the server may still send
    half-closed (local)  the server sent END_STREAM; gRPC ignores any further request, so
                         the server resets the stream at once (section 8.1)
    closed               both ended, or either sent RST_STREAM; the object is dropped

"reserved" does not occur: a client cannot push, and this server never does.
"""

from collections import deque
from enum import Enum
from typing import Final

from hub.transports.grpc.native.accounts import Payer
from hub.transports.grpc.native.flow_control import ReceiveWindow
from hub.transports.grpc.native.header_list import Fields


class State(Enum):
    """The states in which a stream has an object."""

    OPEN = "open"
    HALF_CLOSED_REMOTE = "half-closed (remote)"
    CLOSED = "closed"


class Stream:
    """One request and its response."""

    __slots__ = (
        "answering",
        "call",
        "closed",
        "expected",
        "held",
        "id",
        "moved_at",
        "payer",
        "pending",
        "pending_bytes",
        "receive_window",
        "remote_open",
        "started_at",
        "trailers",
        "waiting_since",
        "window",
    )

    def __init__(self, stream_id: int, window: int, now: float) -> None:
        self.id: Final = stream_id
        self.remote_open = True
        """Whether the client may still send; False after its END_STREAM."""
        self.closed = False
        self.answering = False
        """Whether response headers have been sent."""
        self.window = window
        """The bytes that the server may send; SETTINGS can make it negative (section 6.9.2)."""
        self.receive_window: ReceiveWindow | None = None
        """None until the first DATA that does not end the stream."""
        self.held = 0
        """Bytes received and not yet released."""
        self.expected = -1
        """The bytes of content-length still to come, or -1 without one (section 8.1.1)."""
        self.pending: deque[bytes | memoryview] | None = None
        """DATA that is waiting for a window or the socket."""
        self.pending_bytes = 0
        self.payer: Payer | None = None
        """The accounts its pending bytes are charged to; None for those of the connection."""
        self.trailers: Fields | None = None
        """The trailers that end the stream when nothing is pending."""
        self.started_at = now
        self.moved_at = now
        """When some of its pending bytes were last sent, in seconds of the loop's clock."""
        self.waiting_since = now
        """When it began to have pending bytes, if it has any."""
        self.call: object = None
        """The layer above keeps its own object here."""

    @property
    def state(self) -> State:
        """The state by its name in section 5.1."""
        if self.closed:
            return State.CLOSED
        return State.OPEN if self.remote_open else State.HALF_CLOSED_REMOTE
