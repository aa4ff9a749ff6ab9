"""The common parts of all probers: their interface, their result, and its bounds."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from hub.probes import json_fields
from hub.probes.asker import Asker
from hub.registry.model_bytes import bounded
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import Backend, Model

PROBES_PER_STATIC_FACT: Final = 10
"""Facts that do not change while a server runs are requested in every tenth probe."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one successful probe saw.

    `load` is None where the backend does not tell. `omitted` counts the models that
    were left out because of `MODEL_BYTES_PER_ENDPOINT`. `has_more` asks for another look soon:
    the server has facts to tell that this probe had no room for.
    """

    models: tuple[Model, ...]
    version: str = ""
    load: Load | None = None
    omitted: int = 0
    has_more: bool = False

    @classmethod
    def of(
        cls,
        models: Iterable[Model],
        version: str = "",
        load: Load | None = None,
        *,
        has_more: bool = False,
    ) -> "Sighting":
        """The sighting of parsed models, within the bounds."""
        parsed = list(models)
        kept = bounded(parsed)
        shared = json_fields.shared(kept)
        return cls(shared, version, load, len(parsed) - len(kept), has_more)


class Prober(ABC):
    """Probes one endpoint, and remembers what need not be requested every time.

    Each endpoint has one; a new one is created when the endpoint fails to answer or changes
    its kind. A probe only reads: it runs no inference and causes no model to be loaded.
    """

    kind: ClassVar[Backend]
    title: ClassVar[str]

    __slots__ = ()

    @abstractmethod
    async def probe(self, ask: Asker) -> Sighting:
        """Requests all facts. Raises ProbeError; WrongKind if the server is of another kind."""


class Cadence:
    """Decides in which probes static facts are requested: the first, and every tenth."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = 0

    def due(self) -> bool:
        """Counts one probe; True if it should request the static facts."""
        if self._left == 0:
            self._left = PROBES_PER_STATIC_FACT - 1
            return True
        self._left -= 1
        return False
