"""How a prober asks a server: what every client that it may use has in common.

The hub asks by its shared connections (`hub.probes.probe_client`). A sidecar asks the
servers on its own host by a client that costs less memory (`hub.sidecar.local_probes`).
"""

from typing import Protocol

from hub.probes.answer import Answer, JsonValue
from hub.probes.model_facts import ModelFactsCache
from hub.probes.target import ProbeTarget


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
