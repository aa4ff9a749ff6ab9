"""What a prober uses to query a server: the endpoint's address and an HTTP client.

The hub uses its shared connections (`hub.probes.probe_client`). A sidecar queries the
servers on its own host with a client that needs less memory (`hub.sidecar.local_probes`).
"""

from dataclasses import dataclass
from typing import Protocol

from hub.probes.answer import Answer, JsonValue
from hub.probes.model_facts import ModelFactsCache
from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """The address of one endpoint, its registered kind, and its API key.

    `backend` is the kind that the admin registered, or BACKEND_UNSPECIFIED to detect it.
    `api_key` is the endpoint's own bearer key. The repr shows only the id, so that no log
    contains the key.
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
    """Sends the requests of one probe to one endpoint."""

    @property
    def target(self) -> ProbeTarget:
        """The endpoint."""
        ...

    @property
    def is_asked(self) -> bool:
        """Whether a caller waits for the result of this probe."""
        ...

    @property
    def has_connected(self) -> bool:
        """Whether this probe has opened a new connection.

        If so, the server may have been replaced since the last probe.
        """
        ...

    @property
    def facts(self) -> ModelFactsCache:
        """The facts of models that servers have reported, kept across probes."""
        ...

    async def get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """Sends GET for a path under the endpoint's base path and returns the answer.

        Returns an answer of any status. Raises Unreachable, BadAnswer if the answer is
        not HTTP or too large, or OwnFault.
        """
        ...

    async def post(self, path: str, value: JsonValue) -> Answer:
        """Sends POST with JSON, for a read-only route that does not accept GET. See `get`.

        The request is not repeated on a broken connection.
        """
        ...
