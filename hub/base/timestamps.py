"""Conversion between epoch milliseconds, which the hub uses, and protobuf timestamps."""

from google.protobuf.timestamp_pb2 import Timestamp


def to_timestamp(milliseconds: int) -> Timestamp:
    """Converts epoch milliseconds to a Timestamp."""
    return Timestamp(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def to_ms(timestamp: Timestamp) -> int:
    """Converts a Timestamp to epoch milliseconds, rounded down."""
    return timestamp.seconds * 1000 + timestamp.nanos // 1_000_000
