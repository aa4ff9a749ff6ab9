"""A sidecar's frames as a session takes them, from JSON or from binary messages."""

from typing import Protocol

from google.protobuf.message import DecodeError, Message

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.contract.rpcs import FRAMES, FrameKind
from hub.service.dispatcher import Received, Request
from llmhub.v1.frame_pb2 import SidecarFrame


class Frame(Protocol):
    """A frame of a known kind. `hub.contract.dialect.frames.ParsedFrame` is one from JSON."""

    @property
    def kind(self) -> FrameKind:
        """Which frame it is."""
        ...

    @property
    def unknown_fields(self) -> int:
        """How many of its fields the hub does not know; 0 until it is decoded."""
        ...

    def decode(self) -> Request:
        """The request of the RPC that the frame stands for."""
        ...


class BinaryFrame:
    """A frame that protobuf has decoded."""

    unknown_fields = 0

    def __init__(self, kind: FrameKind, payload: Message) -> None:
        self.kind = kind
        self._payload = payload

    def decode(self) -> Request:
        """See `Frame`."""
        return Received(self._payload)


def parse_binary_frame(encoded: bytes) -> BinaryFrame:
    """Reads an encoded SidecarFrame. Raises ValidationFailed."""
    try:
        frame = SidecarFrame.FromString(encoded)
    except DecodeError:
        violation = FieldViolation("message", "invalid", "is not an encoded SidecarFrame")
        raise ValidationFailed([violation]) from None
    member = frame.WhichOneof("frame")
    if member is None:
        raise ValidationFailed([FieldViolation("frame", "required", "is required")])
    return BinaryFrame(FRAMES[member], getattr(frame, member))
