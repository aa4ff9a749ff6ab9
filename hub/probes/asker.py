"""How a prober asks a server: which endpoint, and what its clients have in common.

The hub asks by its shared connections (`hub.probes.probe_client`). A sidecar asks the
servers on its own host by a client that costs less memory (`hub.sidecar.local_probes`).
"""

from dataclasses import dataclass
from typing import Protocol

from hub.probes.answer import Answer, JsonValue
from hub.probes.model_facts import ModelFactsCache
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One endpoint as a probe must address it.

    `backend` is what the admin registered, or BACKEND_UNSPECIFIED to find out.
    `api_key` is the endpoint's own bearer key; the repr shows only the id, so
    that the key is in no log.
    """

    id: str
    scheme: str
    host: str
    port: int
    base_path: str = ""
    backend: Backend = BACKEND_UNSPECIFIED
    api_key: str | None = None

    def __repr__(self) -> str:
        return f"ProbeTarget({self.id!r})"


class Asker(Protocol):
    """Asks one endpoint during one probe."""

    @property
    def target(self) -> ProbeTarget:
        """The endpoint."""
        ...

    @property
    def is_asked(self) -> bool:
        """Whether a caller waits for the outcome of this probe."""
        ...

    @property
    def has_connected(self) -> bool:
        """Whether this probe has opened a new connection.

        The server may then be another one than in the probe before.
        """
        ...

    @property
    def facts(self) -> ModelFactsCache:
        """The facts of models that servers have reported, over all probes."""
        ...

    async def get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """Sends GET for a path under the endpoint's base path and returns the answer.

        Any status is an answer. Raises Unreachable, BadAnswer for what is not
        HTTP or too large, or OwnFault.
        """
        ...

    async def post(self, path: str, value: JsonValue) -> Answer:
        """Sends a question that a server takes only as POST with JSON; as `get`.

        Only for routes that read. Not repeated on a broken connection.
        """
        ...
