"""Decodes the Huffman code of HPACK (RFC 7541, section 5.2), a byte at a time.

The `hpack` library's decoder takes two steps per byte. A `grpc-timeout` differs from call to
call and usually has this code, so the steps are joined, and the usual ones are remembered.
"""

from typing import Final

from hpack import HPACKDecodingError
from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)

_STATES: Final = 256
# Of 256 bytes. Digits take about 40 in each state that they reach.
_MAX_STEPS_OF_STATE: Final = 64


class _State(dict[int, tuple["_State", bytes, bool]]):
    """By input byte: the next state, the characters, and whether the text may end there."""

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __missing__(self, byte: int) -> tuple["_State", bytes, bool]:
        state, flags, characters = self._number, 0, b""
        for nibble in (byte >> 4, byte & 0x0F):
            state, flags, character = HUFFMAN_TABLE[state * 16 + nibble]
            if flags & HUFFMAN_FAIL:
                raise HPACKDecodingError("Invalid Huffman string")
            if flags & HUFFMAN_EMIT_SYMBOL:
                characters += bytes((character,))
        step = _ALL[state], characters, bool(flags & HUFFMAN_COMPLETE)
        if len(self) < _MAX_STEPS_OF_STATE:
            self[byte] = step
        return step


_ALL: Final = tuple(map(_State, range(_STATES)))


def decoded(text: bytes) -> bytes:
    """The characters of a coded text. Raises HPACKDecodingError."""
    state, complete, parts = _ALL[0], True, []
    for byte in text:
        state, characters, complete = state[byte]
        parts.append(characters)
    if not complete:
        raise HPACKDecodingError("Incomplete Huffman string")
    return b"".join(parts)
