"""The `h2` library as a second opinion on what a client may send.

`python -m tests.support.http2_oracle COUNT [FIRST_SEED]` plays that many connections.
"""

import sys
from contextlib import suppress
from random import Random

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.events import DataReceived, RequestReceived, StreamEnded
from hub.transports.grpc.native.http2_connection import Connection
from tests.support.http2_fuzz import LIMITS, Script

# Known differences in which the core is right or free to choose: a part of a fault's text,
# and the reason. First the faults that the core raises, then those of the library.
_OURS_ALONE = {
    "RST_STREAM on stream": "section 6.4 forbids it on idle streams; the library ignores it",
    "a stream without an event": "section 8.1.1: content-length without a body",
    "and content-length": "section 8.1.1: trailers end the body too early",
    "a client cannot push": "section 8.4 forbids every PUSH_PROMISE, also on a closed stream",
}
_THEIRS_ALONE = {
    "ConnectionState.CLOSED": "section 6.8 lets a client that sent GOAWAY finish",
    ":authority or Host": "section 8.3.1 requires it of clients only; gRPC needs neither",
    "invalid padding": "section 6.2 allows a frame of padding only; the library is off by one",
    "FrameDataMissingError": "ALTSVC is an extension, to be ignored by section 5.5",
    "non-compliant data": "section 6.9: the reserved bit must be ignored",
    "depend on itself": "RFC 9113 has no dependencies; the core only checks those of requests",
}


class Account:
    """How one side interpreted a connection."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.fault: str | None = None

    def agrees_with(self, other: "Account") -> bool:
        """Whether both saw the same requests, bodies and resets."""
        mine, others = (
            (self.bodies, self.ended, self.reset),
            (other.bodies, other.ended, other.reset),
        )
        return mine == others

    def __repr__(self) -> str:
        sizes = {stream_id: len(body) for stream_id, body in self.bodies.items()}
        return f"{sizes} ended {self.ended} reset {self.reset} fault {self.fault}"


class Ours:
    """The core, with an application that only listens."""

    def __init__(self) -> None:
        self._connection = Connection(LIMITS, 0.0)
        self._connection.outbox.take()
        self.account = Account()

    def receive(self, data: bytes) -> None:
        """Processes whole frames."""
        account = self.account
        for event in self._connection.receive(data, 0.0):
            match event:
                case RequestReceived(stream=stream, ended=ended):
                    account.bodies[stream.id] = b""
                    if ended:
                        account.ended.add(stream.id)
                case DataReceived(stream=stream, data=body, ended=ended):
                    account.bodies[stream.id] += body
                    self._connection.release(stream, min(stream.held, len(body)))
                    if ended:
                        account.ended.add(stream.id)
                case StreamEnded(stream=stream, code=code, by_peer=True):
                    account.reset[stream.id] = code
                case StreamEnded(stream=stream, code=code):
                    mismatch = " and content-length" if stream.expected != -1 else ""
                    account.fault = f"stream {stream.id}: {code}{mismatch}"
                case _ if self._connection.failed:
                    account.fault = str(event.detail)  # type: ignore[union-attr]
        output = b"".join(self._connection.outbox.take())
        if account.fault is None and _has_reset(output):
            account.fault = "a stream without an event"


def _has_reset(output: bytes) -> bool:
    while output:
        if output[3] == frames.RST_STREAM:
            return True
        output = output[frames.HEAD_BYTES + int.from_bytes(output[:3]) :]
    return False


class Theirs:
    """h2, with the same settings."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._connection = h2.connection.H2Connection(config)
        self._connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: LIMITS.streams,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: LIMITS.stream_window,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: LIMITS.header_list_hard_bytes,
            },
        )
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(LIMITS.connection_window - 65_535)
        self._connection.data_to_send()
        self.account = Account()

    def receive(self, data: bytes) -> None:
        """Processes whole frames."""
        account = self.account
        try:
            events = self._connection.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            account.fault = f"{type(error).__name__}: {error}"
            return
        for event in events:
            match event:
                case h2.events.RequestReceived(stream_id=stream_id):
                    account.bodies[stream_id] = b""
                case h2.events.DataReceived(stream_id=stream_id, data=body):
                    account.bodies[stream_id] += body
                    if event.flow_controlled_length:
                        self._acknowledge(event.flow_controlled_length, stream_id)
                case h2.events.StreamEnded(stream_id=stream_id):
                    account.ended.add(stream_id)
                case h2.events.StreamReset(stream_id=stream_id, error_code=code):
                    if event.remote_reset:
                        account.reset[stream_id] = int(code)
                    else:
                        account.fault = f"stream {stream_id}: {code}"
        output = self._connection.data_to_send()
        if account.fault is None and _has_reset(output):
            account.fault = "a stream without an event"

    def _acknowledge(self, count: int, stream_id: int) -> None:
        with suppress(h2.exceptions.StreamClosedError):
            self._connection.acknowledge_received_data(count, stream_id)


def _explained(ours: Account, theirs: Account) -> bool:
    if ours.fault:
        return any(part in ours.fault for part in _OURS_ALONE)
    return any(part in str(theirs.fault) for part in _THEIRS_ALONE)


def play(seed: int) -> str | None:
    """Plays a connection until either side objects; returns how they differ, or None."""
    ours, theirs = Ours(), Theirs()
    for piece in Script(Random(seed)).frames():
        ours.receive(piece)
        theirs.receive(piece)
        first, second = ours.account, theirs.account
        if first.fault or second.fault:
            if bool(first.fault) != bool(second.fault) and not _explained(first, second):
                return f"ours {first}; theirs {second}; last {piece[:60]!r}"
            return None
        if not first.agrees_with(second):
            return f"ours {first}; theirs {second}; last {piece[:60]!r}"
    return None


def main(count: int, first: int) -> int:
    """Plays connections; returns how many differed."""
    differing = 0
    for seed in range(first, first + count):
        difference = play(seed)
        if difference:
            differing += 1
            print(f"seed {seed}: {difference}", flush=True)
    print(f"{count:,} connections from seed {first}: {differing} differed")
    return differing


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))
