"""Finds the inference servers of this host: the usual ports, and what was named."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hub.sidecar.recognise import recognise
from hub.sidecar.sightings import Sighting

# Where Ollama, vLLM, llama.cpp, LM Studio and SGLang listen unless told otherwise.
# Whoever answers there is asked what it is; the port proves nothing.
USUAL_PORTS = (11434, 8000, 8080, 1234, 30000)

# How long a server that was found and has gone is still reported as gone.
FORGET_MS = 600_000


class Discovery:
    """Looks again whenever `look` is called; `sightings` is what it knows.

    Named servers are always reported, found ones from their first answer on.
    """

    def __init__(
        self,
        named: Sequence[str],
        ports: Sequence[int] = USUAL_PORTS,
        ask: Callable[[str], Awaitable[Sighting]] = recognise,
    ) -> None:
        self._named = tuple(dict.fromkeys(named))
        self._usual = tuple(f"http://127.0.0.1:{port}" for port in ports)
        self._ask = ask
        self._last_answer_ms: dict[str, int] = {}
        self.sightings: tuple[Sighting, ...] = ()

    async def look(self, now_ms: int) -> None:
        """Asks every server once, all at the same time."""
        urls = tuple(dict.fromkeys((*self._named, *self._usual)))
        seen = await asyncio.gather(*(self._ask(url) for url in urls))
        for sighting in seen:
            if sighting.reachable:
                self._last_answer_ms[sighting.url] = now_ms
        self.sightings = tuple(each for each in seen if self._is_known(each.url, now_ms))

    def _is_known(self, url: str, now_ms: int) -> bool:
        if url in self._named:
            return True
        answered_ms = self._last_answer_ms.get(url)
        return answered_ms is not None and now_ms - answered_ms <= FORGET_MS
