"""The streaming methods that gateways call, in the form that both gRPC servers serve."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from hub.service.access.access_control import Credentials


class Answer(Protocol):
    """Answers one stream."""

    def __call__(
        self,
        credentials: Callable[[], Credentials],
        requests: AsyncIterator[bytes],
        on_admitted: Callable[[], None],
    ) -> AsyncGenerator[bytes, None]:
        """The replies to the messages of one stream. Raises HubError.

        `credentials` raises InvalidToken. `on_admitted` is called once they are checked.
        """
        ...


@dataclass(frozen=True, slots=True)
class GatewayMethod:
    """One method; `path` is its HTTP/2 path."""

    name: str
    path: str
    answer: Answer
    streams: bool = True


@dataclass(frozen=True, slots=True)
class GatewayMethods:
    """What a hub serves to gateways; by default nothing.

    `health_names` is what gateways ask the health service about. Reflection does not
    describe these services, because the hub knows only a part of Envoy's messages.
    """

    methods: tuple[GatewayMethod, ...] = ()
    health_names: tuple[str, ...] = ()

    def __or__(self, other: "GatewayMethods") -> "GatewayMethods":
        """All that either serves."""
        return GatewayMethods(self.methods + other.methods, self.health_names + other.health_names)


NO_METHODS: Final = GatewayMethods()
"""What a hub that does not serve gateways serves to them."""
