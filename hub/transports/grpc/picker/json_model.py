"""Finds the model that a JSON body names, chunk by chunk, in one pass over its bytes.

The scanner follows only the structure: it skips strings by their quotes, and reads the keys
of the outermost object. It keeps a few bytes, never the body. It is no validator: the
server that gets the body parses it. But it refuses what two parsers could read
differently, because another parser decides which model runs: a second `model`, a key
that differs from it only in case (Go's parser takes it), anything after the object.
"""

import re
from typing import Final

import orjson

MAX_VALUE_BYTES: Final = 4_096
"""The longest value that is read, as it is written; a name has at most 512 characters."""

_KEY: Final = b"model"
_MAX_KEY_BYTES: Final = 6 * len(_KEY)
_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_TOP: Final = re.compile(rb'["{}\[\],:]')
_NESTED: Final = re.compile(rb'["{}\[\]]')
_OPENING: Final = b"{["


class BadBody(Exception):
    """The body is not what the path takes; the message says what is wrong."""


class JsonModel:
    """The scanner of one body.

    `model` is the name once it has been read. `start` and `end` are then the positions of
    its value in the body, with its quotes.
    """

    __slots__ = (
        *("_depth", "_ended", "_escaped", "_in_string", "_is_key", "_key", "_kept", "_size"),
        *("end", "model", "start"),
    )

    def __init__(self) -> None:
        self.model: str | None = None
        self.start = 0
        self.end = 0
        self._size = 0
        self._depth = 0
        self._ended = False
        self._in_string = False
        # Whether the string so far ends with a backslash that escapes what follows.
        self._escaped = False
        # Whether the next string of the outermost object is a key.
        self._is_key = False
        # The key whose value comes next, as it is written, or b"" for any other.
        self._key = b""
        # What is kept of the string that is being read; None if it does not matter.
        self._kept: bytes | None = None

    def feed(self, chunk: bytes) -> None:
        """Reads more of the body. Raises BadBody."""
        at, length = 0, len(chunk)
        if self._in_string:
            at = self._string(chunk, 0)
        while at < length:
            if not self._depth:
                at = self._outside(chunk, at)
                continue
            found = (_TOP if self._depth == 1 else _NESTED).search(chunk, at)
            if self._depth == 1 and self._key:
                self._require_string(chunk, at, found)
            if found is None:
                break
            at = self._token(chunk, found.start())
        self._size += length

    def finish(self) -> str:
        """The model, once the body has ended. Raises BadBody."""
        if not self._ended:
            raise BadBody("the body is not a JSON object")
        if self.model is None:
            raise BadBody("the body names no model")
        return self.model

    def _outside(self, chunk: bytes, at: int) -> int:
        """Reads what is before or after the outermost object; returns where to go on."""
        space = _SPACE.match(chunk, at)
        at = space.end() if space is not None else at
        if at == len(chunk):
            return at
        if self._ended:
            raise BadBody("the body goes on after its JSON object")
        if chunk[at : at + 1] != b"{":
            raise BadBody("the body is not a JSON object")
        self._depth, self._is_key = 1, True
        return at + 1

    def _token(self, chunk: bytes, at: int) -> int:
        token = chunk[at : at + 1]
        if token == b'"':
            self._in_string, self._escaped = True, False
            if self._depth == 1 and (self._is_key or self._key):
                self._kept = b""
                if not self._is_key:
                    self.start = self._size + at
            return self._string(chunk, at + 1)
        if token in _OPENING:
            self._depth += 1
        elif token == b",":
            self._is_key, self._key = True, b""
        elif token == b":":
            self._is_key = False
        else:
            self._depth -= 1
            self._ended = not self._depth
        return at + 1

    def _string(self, chunk: bytes, at: int) -> int:
        """Reads a string from its inside; returns the position after its closing quote."""
        begin = at
        if self._escaped:
            if not chunk:
                return 0
            self._escaped = False
            at += 1
        inside = at
        while (quote := chunk.find(b'"', at)) >= 0:
            if not _backslashes(chunk, inside, quote) & 1:
                self._keep(chunk, begin, quote)
                self._in_string = False
                self._end_string(quote + 1)
                return quote + 1
            at = quote + 1
        self._escaped = bool(_backslashes(chunk, inside, len(chunk)) & 1)
        self._keep(chunk, begin, len(chunk))
        return len(chunk)

    def _keep(self, chunk: bytes, begin: int, end: int) -> None:
        kept = self._kept
        if kept is None:
            return
        limit = _MAX_KEY_BYTES if self._is_key else MAX_VALUE_BYTES
        if len(kept) + end - begin > limit:
            if not self._is_key:
                raise BadBody("the model's name is too long")
            # No spelling of a key that matters is so long.
            self._kept = None
            return
        self._kept = kept + chunk[begin:end]

    def _end_string(self, after: int) -> None:
        kept, self._kept = self._kept, None
        if self._depth != 1 or kept is None:
            return
        if self._is_key:
            key = _unescaped(kept) if b"\\" in kept else kept.decode(errors="replace")
            if key.casefold() != _KEY.decode():
                return
            if key != _KEY.decode():
                raise BadBody(f"the body has the key {key}; the model's key is lower case")
            if self.model is not None:
                raise BadBody("the body names the model twice")
            self._key = _KEY
        elif self._key:
            self._key = b""
            self.model, self.end = _unescaped(kept), self._size + after

    def _require_string(self, chunk: bytes, at: int, found: re.Match[bytes] | None) -> None:
        """Raises BadBody if the model's value does not begin with a quote."""
        end = found.start() if found is not None else len(chunk)
        space = _SPACE.match(chunk, at)
        begins = space.end() if space is not None else at
        if begins < end or (found is not None and found[0] not in b'":'):
            raise BadBody("the body's model is not a string")


def _backslashes(chunk: bytes, begin: int, end: int) -> int:
    """How many backslashes stand directly before `end`, from `begin` on."""
    at = end
    while at > begin and chunk[at - 1] == 0x5C:
        at -= 1
    return end - at


def _unescaped(written: bytes) -> str:
    """The text of a string. Raises BadBody if it is not JSON."""
    try:
        text = orjson.loads(b'"%b"' % written)
    except orjson.JSONDecodeError:
        raise BadBody("the body is not JSON") from None
    assert isinstance(text, str)
    return text
