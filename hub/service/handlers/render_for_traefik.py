"""The fleet as Traefik's dynamic configuration, for its HTTP provider."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from hub.base.tasks import Slices
from hub.registry.rendering.routable_fleet import routable_fleet
from hub.registry.rendering.traefik_config import traefik_dynamic
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from llmhub.v1.endpoint_pb2 import Endpoint

_NO_ROUTERS: Final = b"{}"


class TraefikHandlers:
    """The body, cached until an event changes the fleet."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._slices = Slices()
        self._making = asyncio.Lock()
        self._body = _NO_ROUTERS
        self._revision: int | None = None

    async def get_traefik_config(self, _request: None, _caller: Caller, _now_ms: int) -> bytes:
        """The routers and services of the models, without API keys.

        See https://doc.traefik.io/traefik/reference/install-configuration/providers/others/http/.
        """
        async with self._making:
            revision = self._registry.event_revision
            if self._revision != revision:
                endpoints: list[Endpoint] = []
                collecting = self._collect(endpoints)
                await self._slices.run(lambda: collecting)
                # The rest works on messages that do not change, so it can leave the loop.
                self._body = await asyncio.to_thread(_render, endpoints)
                self._revision = revision
            return self._body

    def _collect(self, endpoints: list[Endpoint]) -> Iterator[None]:
        for record in list(self._registry.endpoints()):
            endpoints.append(record.message)
            yield


def _render(endpoints: Iterable[Endpoint]) -> bytes:
    return orjson.dumps(traefik_dynamic(routable_fleet(endpoints)))
