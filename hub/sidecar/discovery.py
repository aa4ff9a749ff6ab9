"""Finds the inference servers of this host: the usual ports, and what was named."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hub.sidecar.local_probes import LocalProbes
from hub.sidecar.local_server import LocalServer

# The default ports of Ollama, vLLM, llama.cpp, LM Studio and SGLang. A server there is
# asked what it is, because a port proves nothing.
USUAL_PORTS = (11434, 8000, 8080, 1234, 30000)

# How long a server that was found and has gone is still reported as gone.
FORGET_MS = 600_000


class Discovery:
    """Looks again whenever `look` is called; `servers` is what it knows.

    Named servers are always reported, found ones from their first answer on.
    """

    def __init__(
        self,
        named: Sequence[str],
        ports: Sequence[int] = USUAL_PORTS,
        ask: Callable[[str], Awaitable[LocalServer]] | None = None,
    ) -> None:
        self._named = tuple(dict.fromkeys(named))
        self._usual = tuple(f"http://127.0.0.1:{port}" for port in ports)
        self._ask = ask if ask is not None else LocalProbes().look
        self._last_answer_ms: dict[str, int] = {}
        self.servers: tuple[LocalServer, ...] = ()

    async def look(self, now_ms: int) -> None:
        """Asks every server once, all at the same time."""
        urls = tuple(dict.fromkeys((*self._named, *self._usual)))
        seen = await asyncio.gather(*(self._ask(url) for url in urls))
        for server in seen:
            if server.is_inference_server:
                self._last_answer_ms[server.url] = now_ms
        self.servers = tuple(each for each in seen if self._is_known(each.url, now_ms))

    def _is_known(self, url: str, now_ms: int) -> bool:
        if url in self._named:
            return True
        answered_ms = self._last_answer_ms.get(url)
        return answered_ms is not None and now_ms - answered_ms <= FORGET_MS
