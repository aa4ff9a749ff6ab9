"""The methods of Envoy's discovery services: aggregated (ADS), and of endpoints alone (EDS)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any, Final

from hub.service.access.access_control import Credentials
from hub.service.dispatcher import Received
from hub.service.handlers.discover_endpoints import EndpointSet
from hub.service.operations import WATCH_ENDPOINT_SET
from hub.transports.context import TransportContext
from hub.transports.envoy_resources import ASSIGNMENT_TYPE
from hub.transports.grpc.gateway_methods import GatewayMethod, GatewayMethods
from hub.transports.grpc.xds.discovery_stream import DiscoveryStream

_ADS: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_EDS: Final = "envoy.service.endpoint.v3.EndpointDiscoveryService"


class DiscoveryMethods:
    """Answers the streams of gateways that follow the set of endpoints."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context

    def methods(self) -> GatewayMethods:
        """What the gRPC servers serve."""
        return GatewayMethods(
            (
                GatewayMethod(
                    "StreamAggregatedResources", f"/{_ADS}/StreamAggregatedResources", self.ads
                ),
                GatewayMethod("StreamEndpoints", f"/{_EDS}/StreamEndpoints", self.eds),
            )
        )

    def ads(
        self,
        credentials: Callable[[], Credentials],
        requests: AsyncIterator[bytes],
        on_admitted: Callable[[], None],
    ) -> AsyncGenerator[bytes, None]:
        """See `Answer`. Raises HubError."""
        return self._serve(DiscoveryStream(), credentials, requests, on_admitted)

    def eds(
        self,
        credentials: Callable[[], Credentials],
        requests: AsyncIterator[bytes],
        on_admitted: Callable[[], None],
    ) -> AsyncGenerator[bytes, None]:
        """See `Answer`. Raises HubError."""
        return self._serve(DiscoveryStream(ASSIGNMENT_TYPE), credentials, requests, on_admitted)

    async def _serve(
        self,
        stream: DiscoveryStream,
        credentials: Callable[[], Credentials],
        requests: AsyncIterator[bytes],
        on_admitted: Callable[[], None],
    ) -> AsyncGenerator[bytes, None]:
        sets: AsyncGenerator[EndpointSet, None] = self._context.dispatcher.dispatch(
            WATCH_ENDPOINT_SET,
            credentials(),
            lambda: Received(None),
            self._context.clock.now_ms(),
        )
        on_admitted()
        async with aclosing(sets):
            reading = asyncio.ensure_future(_next(requests))
            changing = asyncio.ensure_future(_next(sets))
            try:
                while True:
                    either: set[asyncio.Future[Any]] = {reading, changing}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                    if reading.done():
                        request = reading.result()
                        if request is None:
                            return
                        for response in stream.receive(request):
                            yield response
                        reading = asyncio.ensure_future(_next(requests))
                    if changing.done():
                        found = changing.result()
                        if found is None:
                            return
                        for response in stream.update(found):
                            yield response
                        changing = asyncio.ensure_future(_next(sets))
            finally:
                for each in (reading, changing):
                    each.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await each


# Any: a request's bytes or a set.
async def _next(items: AsyncIterator[Any]) -> Any:
    """The next item, or None at the end."""
    async for item in items:
        return item
    return None
