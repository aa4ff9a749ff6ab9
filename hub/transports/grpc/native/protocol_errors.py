"""Violations of RFC 9113 by a peer, which end a stream or the connection (section 5.4)."""

from hub.transports.grpc.native.http2_frames import ErrorCode


class ConnectionFault(Exception):
    """The connection ends with GOAWAY (section 5.4.1)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StreamFault(Exception):
    """One stream ends with RST_STREAM (section 5.4.2)."""

    def __init__(self, stream_id: int, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.stream_id = stream_id
        self.code = code
        self.detail = detail
