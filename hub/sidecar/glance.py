"""One small question to a known server, to find out whether it still answers as it did.

The routes cost their servers next to nothing, run no inference and wake no model.
"""

from hub.sidecar.local_http import get
from hub.sidecar.local_server import OLLAMA, LocalServer

TIMEOUT_S = 1.5

_ROUTES = {OLLAMA: "/", "llama_cpp": "/health", "vllm": "/health"}
_ROUTE = "/v1/models"


async def glance(server: LocalServer) -> int:
    """Returns the HTTP status that the server answers with. Raises AskError."""
    route = _ROUTES.get(server.backend or "", _ROUTE)
    return (await get(server.url, route, TIMEOUT_S)).status
