"""What every kind of inference server has in common for a probe."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from hub.probes.probe_client import Asker
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import Backend, Model

# Facts that do not change while a server runs are asked again every tenth probe.
PROBES_PER_STATIC_FACT = 10


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one successful probe saw; `load` None where the kind does not tell."""

    models: tuple[Model, ...]
    version: str = ""
    load: Load | None = None


class Prober(ABC):
    """Probes one endpoint, and remembers what it need not ask every time.

    One per endpoint, made anew when the endpoint fails to answer or changes its
    kind. A probe only reads: it runs no inference and makes no model load.
    """

    kind: ClassVar[Backend]
    title: ClassVar[str]

    __slots__ = ()

    @abstractmethod
    async def probe(self, ask: Asker) -> Sighting:
        """Asks what there is to know. Raises ProbeError; WrongKind for another kind."""


class Cadence:
    """Says for every probe whether the static facts are due: first, and every tenth."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0

    def due(self) -> bool:
        """Counts one probe; True where its static facts are to be asked."""
        if self._left == 0:
            self._left = PROBES_PER_STATIC_FACT - 1
            return True
        self._left -= 1
        return False

    def reset(self) -> None:
        """Makes the static facts due at the next probe."""
        self._left = 0
