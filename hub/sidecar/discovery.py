"""Finds the inference servers of this host, and checks that known ones still answer.

It checks the usual ports and the configured URLs. A glance at a known server uses routes
that cost it almost nothing, run no inference and wake no model.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hub.sidecar.local_http import AskError, get
from hub.sidecar.local_probes import LocalProbes
from hub.sidecar.local_server import OLLAMA, LocalServer

_GLANCE_TIMEOUT_S = 1.5

_ROUTES = {OLLAMA: "/", "llama_cpp": "/health", "vllm": "/health"}
_ROUTE = "/v1/models"


async def glance_at_server(server: LocalServer) -> int:
    """Returns the HTTP status that the server answers with. Raises AskError."""
    route = _ROUTES.get(server.backend or "", _ROUTE)
    return (await get(server.url, route, _GLANCE_TIMEOUT_S)).status


# The default ports of Ollama, vLLM, llama.cpp, LM Studio and SGLang. A server there is
# probed for its kind, because a port proves nothing.
USUAL_PORTS = (11434, 8000, 8080, 1234, 30000)

# How long a server that was found and then disappeared is still reported.
FORGET_MS = 600_000


class Discovery:
    """Probes the servers whenever `look` is called; `servers` are the known ones.

    `glance` is cheap: it only checks whether the known servers still answer as before,
    and probes those that do not. Named servers are always reported, found ones from
    their first answer on.
    """

    def __init__(
        self,
        named: Sequence[str],
        ports: Sequence[int] = USUAL_PORTS,
        ask: Callable[[str], Awaitable[LocalServer]] | None = None,
        glance_at: Callable[[LocalServer], Awaitable[int]] = glance_at_server,
    ) -> None:
        self._named = tuple(dict.fromkeys(named))
        self._usual = tuple(f"http://127.0.0.1:{port}" for port in ports)
        self._ask = ask if ask is not None else LocalProbes().look
        self._glance_at = glance_at
        # The HTTP status of each server's last glance since the last look.
        self._statuses: dict[str, int] = {}
        self._last_answer_ms: dict[str, int] = {}
        self.servers: tuple[LocalServer, ...] = ()

    async def look(self, now_ms: int) -> None:
        """Probes every server once, all at the same time."""
        urls = tuple(dict.fromkeys((*self._named, *self._usual)))
        seen = await asyncio.gather(*(self._ask(url) for url in urls))
        self._statuses.clear()
        for server in seen:
            if server.is_inference_server:
                self._last_answer_ms[server.url] = now_ms
        self.servers = tuple(each for each in seen if self._is_known(each.url, now_ms))

    async def look_at(self, url: str) -> None:
        """Probes one known server again, such as after an action on it."""
        seen = await self._ask(url)
        self.servers = tuple(seen if each.url == url else each for each in self.servers)

    async def glance(self) -> None:
        """Glances at every known server, all at the same time."""
        known = self.servers
        seen = await asyncio.gather(*(self._again(server) for server in known))
        if any(new is not old for new, old in zip(seen, known, strict=True)):
            self.servers = tuple(seen)

    async def _again(self, server: LocalServer) -> LocalServer:
        """The same object, or another one if the server does not answer as before."""
        url = server.url
        before = self._statuses.pop(url, None)
        try:
            status = self._statuses[url] = await self._glance_at(server)
        except AskError as error:
            return LocalServer(url, error=str(error)) if server.reachable else server
        if status == before or (before is None and server.reachable):
            return server
        return await self._ask(url)

    def _is_known(self, url: str, now_ms: int) -> bool:
        if url in self._named:
            return True
        answered_ms = self._last_answer_ms.get(url)
        return answered_ms is not None and now_ms - answered_ms <= FORGET_MS
