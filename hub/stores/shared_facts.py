"""What the hub requires of an engine for observed facts: the latest value of each key.

A `Store` keeps what was decided and must not be lost. `SharedFacts` keeps what was
observed: the next observation repeats a lost write, so nothing waits for a disk.
A value is returned with its age, which never depends on the clock of another machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fact:
    """The latest value of a key; it was published at least `age_ms` ago."""

    key: str
    value: bytes
    age_ms: int


class FactsUnavailable(Exception):
    """The engine did not accept the facts; the message explains why."""


class SharedFacts(Protocol):
    """The latest value of each key. Keys are paths, such as "health/10.0.0.1:11434"."""

    async def open(self) -> Sequence[Fact]:
        """Opens the engine and returns all its facts.

        An engine that cannot read its data logs the reason once and begins empty. It never
        prevents a hub from starting.
        """
        ...

    async def publish(self, values: Mapping[str, bytes | None]) -> None:
        """Replaces the values of these keys; None removes a key.

        Returns once the engine has accepted them, which does not guarantee that they
        survive a crash of the machine. If it raises FactsUnavailable, the caller must
        publish the latest values of these keys again later.
        """
        ...

    async def close(self) -> None:
        """Closes the engine. Idempotent."""
        ...
