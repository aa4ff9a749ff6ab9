"""How much memory the history of an endpoint takes. Pure.

A message takes much more memory than its encoding: each model in it is an object with room
for all fields, though it may have nothing but a name.
"""

from typing import Final

from llmhub.v1.endpoint_pb2 import Endpoint

# Measured with CPython 3.11 and protobuf 6, see tests/registry/test_footprint.py.
_MESSAGE_BYTES: Final = 2_000
_MODEL_BYTES: Final = 280
# The strings of the message, and the event that watches receive.
_PER_ENCODED_BYTE: Final = 3


def memory_of(endpoint: Endpoint | None) -> int:
    """The approximate bytes that a record of the endpoint and its event take in memory."""
    if endpoint is None:
        return 0
    size = _MESSAGE_BYTES + _MODEL_BYTES * len(endpoint.models)
    return size + _PER_ENCODED_BYTE * endpoint.ByteSize()
