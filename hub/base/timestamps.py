"""Conversion between epoch milliseconds, the hub's time, and protobuf timestamps."""

from google.protobuf.timestamp_pb2 import Timestamp


def to_timestamp(milliseconds: int) -> Timestamp:
    """A Timestamp of epoch milliseconds."""
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def to_ms(timestamp: Timestamp) -> int:
    """The epoch milliseconds of a Timestamp, rounded down."""
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
