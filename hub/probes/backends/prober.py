"""What every kind of inference server has in common for a probe."""

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
"""Facts that do not change while a server runs are asked again every tenth probe."""


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
        """A sighting of models that this probe has parsed, within the bounds."""
        parsed = list(models)
        kept = bounded(parsed)
        shared = json_fields.shared(kept)
        return cls(shared, version, load, len(parsed) - len(kept), has_more)


class Prober(ABC):
    """Probes one endpoint, and remembers what it need not ask every time.

    One per endpoint; a new one is made when the endpoint fails to answer or changes
    its kind. A probe only reads: it runs no inference and makes no model load.
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
        """Counts one probe; True if its static facts are to be asked."""
        if self._left == 0:
            self._left = PROBES_PER_STATIC_FACT - 1
            return True
        self._left -= 1
        return False
