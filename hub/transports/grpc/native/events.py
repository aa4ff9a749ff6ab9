"""The events that received bytes cause on a connection."""

from hub.transports.grpc.native.header_list import HeaderList
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.request import Request
from hub.transports.grpc.native.stream import Stream


class RequestReceived:
    """A client opened a stream with a well-formed request head."""

    __slots__ = ("ended", "headers", "request", "stream", "timeout")

    def __init__(
        self,
        stream: Stream,
        headers: HeaderList,
        request: Request,
        timeout: bytes,
        ended: bool,  # noqa: FBT001
    ) -> None:
        self.stream = stream
        self.headers = headers
        self.request = request
        self.timeout = timeout
        """The value of `grpc-timeout`, kept out of the headers because it differs for each call."""
        self.ended = ended
        """Whether the request has no body."""


class DataReceived:
    """Bytes of a request's body. The receiver calls `Connection.release` for them."""

    __slots__ = ("data", "ended", "stream")

    def __init__(self, stream: Stream, data: bytes, ended: bool) -> None:  # noqa: FBT001
        self.stream = stream
        self.data = data
        self.ended = ended
        """Whether the body is complete."""


class StreamEnded:
    """A stream was reset, by the client or because of a fault of the client."""

    __slots__ = ("by_peer", "code", "stream")

    def __init__(self, stream: Stream, code: int, *, by_peer: bool) -> None:
        self.stream = stream
        self.code = code
        self.by_peer = by_peer


class PingAcknowledged:
    """The client acknowledged the server's PING."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class ConnectionFailed:
    """The client broke the protocol or exceeded a bound. The last event; GOAWAY is queued."""

    __slots__ = ("code", "detail")

    def __init__(self, code: ErrorCode, detail: str) -> None:
        self.code = code
        self.detail = detail


Event = RequestReceived | DataReceived | StreamEnded | PingAcknowledged | ConnectionFailed
