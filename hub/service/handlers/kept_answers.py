"""Encoded answers that cost as much as the fleet is large, kept until the fleet changes. Pure.

A caller whose token is limited to a part of the fleet gets an answer of its own. Without
this, one that asks again and again would keep the event loop busy.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from hub.registry.state import Registry

MAX_BYTES: Final = 33_554_432
"""The bytes of all kept answers; the one unused for longest is dropped first."""


class KeptAnswers:
    """The answers at the registry's current revision."""

    def __init__(self, registry: Registry, max_bytes: int = MAX_BYTES) -> None:
        self._registry = registry
        self._max_bytes = max_bytes
        self._revision = 0
        self._bytes = 0
        self._answers: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, asked: Hashable, make: Callable[[], bytes]) -> bytes:
        """The answer to what was asked; `make` makes it, and raises what it likes."""
        if self._revision != self._registry.revision:
            self._answers.clear()
            self._bytes = 0
            self._revision = self._registry.revision
        answer = self._answers.get(asked)
        if answer is not None:
            self._answers.move_to_end(asked)
            return answer
        answer = self._answers[asked] = make()
        self._bytes += len(answer)
        while self._bytes > self._max_bytes:
            _, dropped = self._answers.popitem(last=False)
            self._bytes -= len(dropped)
        return answer
