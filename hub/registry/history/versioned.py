"""An immutable message with the revision that made it and its cached encodings."""

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


class Versioned(Generic[M]):
    """A message as it was at a revision.

    `message` must not change after it is wrapped; a change makes a new Versioned. So its
    encodings can be cached, and a thousand readers of one revision cost one encoding.
    """

    __slots__ = ("_encodings", "_put_event", "message", "revision")

    def __init__(self, message: M, revision: int) -> None:
        self.message = message
        self.revision = revision
        # None once a later message has taken the place of this one.
        self._encodings: dict[Callable[[M], bytes], bytes] | None = {}
        self._put_event: bytes | None = None

    def encoded(self, encode: Callable[[M], bytes]) -> bytes:
        """The message as `encode` writes it; encoded once per function."""
        if self._encodings is None:
            return encode(self.message)
        encoding = self._encodings.get(encode)
        if encoding is None:
            encoding = self._encodings[encode] = encode(self.message)
        return encoding

    def retire(self) -> None:
        """Drops the encodings: a later message has taken the place of this one.

        Only the history keeps it from now on, whose readers need the event alone.
        """
        self._encodings = None

    def put_event(self, encode: Callable[[M, int], bytes]) -> bytes:
        """The event that made the message, as `encode` writes it; encoded once.

        `encode` gets the message and its revision; pass the same function each time.
        """
        if self._put_event is None:
            self._put_event = encode(self.message, self.revision)
        return self._put_event
