"""Finds the inference servers of this host: the usual ports, and what was named."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hub.sidecar.glance import glance
from hub.sidecar.local_http import AskError
from hub.sidecar.recognise import recognise
from hub.sidecar.sightings import Sighting

# Where Ollama, vLLM, llama.cpp, LM Studio and SGLang listen unless told otherwise.
# Whoever answers there is asked what it is; the port proves nothing.
USUAL_PORTS = (11434, 8000, 8080, 1234, 30000)

# How long a server that was found and has gone is still reported as gone.
FORGET_MS = 600_000


class Discovery:
    """Looks again whenever `look` is called; `sightings` is what it knows.

    `glance`, which costs little, only finds out whether the known servers still answer as
    they did; one that does not is looked at again. Named servers are always reported,
    found ones from their first answer on.
    """

    def __init__(
        self,
        named: Sequence[str],
        ports: Sequence[int] = USUAL_PORTS,
        ask: Callable[[str], Awaitable[Sighting]] = recognise,
        glance_at: Callable[[Sighting], Awaitable[int]] = glance,
    ) -> None:
        self._named = tuple(dict.fromkeys(named))
        self._usual = tuple(f"http://127.0.0.1:{port}" for port in ports)
        self._ask = ask
        self._glance_at = glance_at
        # The HTTP status of each server's last glance.
        self._statuses: dict[str, int] = {}
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

    async def glance(self) -> None:
        """Glances at every known server, all at the same time."""
        known = self.sightings
        seen = await asyncio.gather(*(self._again(sighting) for sighting in known))
        if any(new is not old for new, old in zip(seen, known, strict=True)):
            self.sightings = tuple(seen)

    async def _again(self, sighting: Sighting) -> Sighting:
        """The same sighting, or another where the server does not answer as it did."""
        url = sighting.url
        before = self._statuses.pop(url, None)
        try:
            status = self._statuses[url] = await self._glance_at(sighting)
        except AskError as error:
            return Sighting(url, error=str(error)) if sighting.reachable else sighting
        if status == before or (before is None and sighting.reachable):
            return sighting
        return await self._ask(url)

    def _is_known(self, url: str, now_ms: int) -> bool:
        if url in self._named:
            return True
        answered_ms = self._last_answer_ms.get(url)
        return answered_ms is not None and now_ms - answered_ms <= FORGET_MS
