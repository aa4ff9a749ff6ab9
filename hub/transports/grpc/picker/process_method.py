"""ExternalProcessor.Process: each stream is one HTTP request."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final

from hub.base.settings import GatewaySettings
from hub.service.access.access_control import Credentials
from hub.transports.context import TransportContext
from hub.transports.grpc.gateway_methods import GatewayMethod, GatewayMethods
from hub.transports.grpc.picker.exchange import Exchange
from hub.transports.grpc.picker.gateway_messages import PATH, SERVICE
from hub.transports.grpc.picker.picker_calls import PickerCalls
from hub.transports.grpc.picker.request_body import HeldBytes

_HEALTH_NAMES: Final = (SERVICE, "liveness", "readiness")


class Picker:
    """Answers the streams of gateways."""

    def __init__(self, settings: GatewaySettings, context: TransportContext) -> None:
        self._calls = PickerCalls(
            context.dispatcher,
            context.clock,
            HeldBytes(per_request=settings.max_held_bytes, in_all=settings.max_held_bytes_in_all),
            requires_keys=settings.require_keys,
        )

    def methods(self) -> GatewayMethods:
        """What the gRPC servers serve."""
        return GatewayMethods((GatewayMethod("Process", PATH, self.process),), _HEALTH_NAMES)

    async def process(
        self,
        credentials: Callable[[], Credentials],
        requests: AsyncIterator[bytes],
        on_admitted: Callable[[], None],
    ) -> AsyncGenerator[bytes, None]:
        """See `Answer`. Raises HubError."""
        exchange = Exchange(self._calls, self._calls.admit(credentials()))
        on_admitted()
        try:
            async for message in requests:
                replies = exchange.receive(message)
                if not isinstance(replies, tuple):
                    replies = await replies
                for reply in replies:
                    yield reply
        finally:
            exchange.end()
