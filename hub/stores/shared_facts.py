"""What the hub asks of an engine for observed facts: the latest value of each key.

A `Store` keeps what was decided and must not be lost. `SharedFacts` keeps what was
observed: a lost write is repeated by the next observation, so nothing waits for a disk.
A value comes back with its age, which never rests on the clock of another machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fact:
    """The latest value of a key; `age_ms` is how long ago it was published, at least."""

    key: str
    value: bytes
    age_ms: int


class FactsUnavailable(Exception):
    """The engine did not take the facts; the message says why."""


class SharedFacts(Protocol):
    """The latest value of each key. Keys are paths, such as "health/10.0.0.1:11434"."""

    async def open(self) -> Sequence[Fact]:
        """Opens the engine and returns all it holds.

        An engine that cannot read what it held logs the reason, once, and begins empty:
        it never keeps a hub from starting.
        """
        ...

    async def publish(self, values: Mapping[str, bytes | None]) -> None:
        """Replaces the values of these keys; None removes a key.

        Returns once the engine has taken them, which does not mean that they would
        survive the machine. Raises FactsUnavailable: then the caller publishes the
        latest values of these keys again, later.
        """
        ...

    async def close(self) -> None:
        """Closes the engine. Idempotent."""
        ...
