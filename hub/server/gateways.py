"""What the hub needs to serve gateways: the endpoints' numeric addresses, and the handlers."""

import asyncio
from collections.abc import Callable, Sequence

from hub.base.settings import GatewaySettings
from hub.base.tasks import log_unexpected_end
from hub.probes.engine import ProbeEngine
from hub.probes.resolver import ProbeResolver
from hub.registry.state import Registry
from hub.service.change_feed import ChangeFeed
from hub.service.changes.endpoint_keys import EndpointKeys
from hub.service.endpoint_addresses import EndpointAddresses
from hub.service.handlers.discover_endpoints import EndpointSets
from hub.service.handlers.gateway_listings import GatewayListings
from hub.service.handlers.pick_endpoint import PickHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers


class Gateways:
    """Resolves the names of endpoints while it runs."""

    def __init__(
        self,
        settings: GatewaySettings,
        registry: Registry,
        changes: ChangeFeed,
        probes: ProbeEngine,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._changes = changes
        self._probes = probes
        self.keys = EndpointKeys()
        # The lookups of probes must not wait for those of gateways.
        self._resolver = ProbeResolver(threads=2, threads_for_failed=2)
        self.addresses = EndpointAddresses(self._allowed)
        self._resolving: asyncio.Task[None] | None = None

    def start(self, on_failure: Callable[[], None]) -> None:
        """Begins to resolve names, if gateways are served."""
        if self._settings.enabled:
            self._resolving = asyncio.create_task(self.addresses.run(), name="gateway-names")
            log_unexpected_end(self._resolving, on_failure)

    async def stop(self) -> None:
        """Ends the lookups. Idempotent."""
        if self._resolving is not None:
            self._resolving.cancel()
            await asyncio.wait([self._resolving])
            self._resolving = None
        await self._resolver.close()

    def handlers(self, selection: SelectionHandlers) -> list[object]:
        """The handlers that answer gateways."""
        return [
            PickHandlers(
                self._registry,
                selection,
                self.addresses.of,
                self.keys,
                self._settings,
            ),
            GatewayListings(self._registry),
            EndpointSets(self._registry, self._changes, self.addresses),
        ]

    async def _allowed(self, name: str) -> Sequence[str]:
        """The addresses of a name that the hub may connect to. Raises OSError."""
        found = await self._resolver.resolve(name)
        policy = self._probes.policy
        return [address for _, address in found if not policy.refusal(address)]
