"""One endpoint as a probe addresses it."""

from dataclasses import dataclass

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
