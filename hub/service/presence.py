"""Which sidecars are connected now, and through which connection."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hub.base.timestamps import to_timestamp
from hub.contract.errors import (
    ConnectionReplaced,
    CooldownActive,
    Disconnected,
    HubError,
    InvalidToken,
    NotIdentified,
    ShuttingDown,
    TooManyViolations,
)
from hub.service.access.peer_certificate import PeerCertificate
from llmhub.v1.frame_pb2 import HubFrame
from llmhub.v1.resources_pb2 import SidecarInfo


@dataclass(frozen=True, slots=True)
class Close:
    """Why the hub ends a connection, in the terms of both sidecar transports.

    `code` and `reason` make a WebSocket close frame (RFC 6455, section 7.4.1;
    4000 to 4999 are the application's own); `error` ends a gRPC stream.
    """

    code: int
    reason: str
    error: type[HubError]

    @property
    def reason_name(self) -> str:
        """The name of the reason in `llmhub.v1.ErrorReason`."""
        return self.as_error().reason_name

    def as_error(self) -> HubError:
        """The error that ends a gRPC stream."""
        return self.error(self.reason)


GOING_AWAY = Close(1001, "hub is stopping", ShuttingDown)
IDENTIFY_TIMEOUT = Close(1008, "identify timeout", NotIdentified)
TOO_MANY_VIOLATIONS = Close(1008, "too many validation errors", TooManyViolations)
TOKEN_REVOKED = Close(1008, "token revoked", InvalidToken)
CERTIFICATE_REVOKED = Close(1008, "certificate revoked", InvalidToken)
TOKEN_EXPIRED = Close(1008, "token expired", InvalidToken)
REPLACED = Close(4001, "replaced", ConnectionReplaced)


def cooldown(seconds: int) -> Close:
    """Closes the connection of an agent that may identify again in that many seconds."""
    return Close(1008, f"cooldown active: retry in {seconds}s", CooldownActive)


def disconnected(reason: str) -> Close:
    """Closes a connection because an admin ended it."""
    return Close(1000, reason or "disconnected by an admin", Disconnected)


class Connection(Protocol):
    """A sidecar's connection over any transport."""

    def close(self, close: Close) -> None:
        """Begins to close the connection; returns at once and never raises."""
        ...

    def send(self, frame: HubFrame) -> None:
        """Begins to send a frame that is not a reply; returns at once and never raises."""
        ...


@dataclass(slots=True, eq=False)
class Sidecar:
    """One identified sidecar and its connection."""

    agent_id: str
    remote_address: str
    transport: str
    connected_at_ms: int
    connection: Connection
    name: str = ""
    status: str = ""
    capabilities: tuple[str, ...] = ()
    token_id: str = ""
    token_expires_at_ms: int | None = None
    last_seen_ms: int = 0
    frames: int = 0
    unknown_fields: int = 0
    violations: int = 0
    certificate: PeerCertificate | None = None

    def info(self) -> SidecarInfo:
        """The sidecar as admins see it."""
        return SidecarInfo(
            agent_id=self.agent_id,
            name=self.name,
            status=self.status,
            capabilities=self.capabilities,
            remote_address=self.remote_address,
            transport=self.transport,
            connected_at=to_timestamp(self.connected_at_ms),
            last_seen_at=to_timestamp(self.last_seen_ms),
            frames_received=self.frames,
            unknown_fields=self.unknown_fields,
            violations=self.violations,
        )


class Presence:
    """The connected sidecars, at most one connection per agent."""

    def __init__(self) -> None:
        self._by_agent: dict[str, Sidecar] = {}
        self._listeners: list[Callable[[str], None]] = []

    def __len__(self) -> int:
        return len(self._by_agent)

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Calls `listener` with each agent that connects or disconnects; it must not raise."""
        self._listeners.append(listener)

    def join(self, sidecar: Sidecar) -> None:
        """Adds a sidecar; closes an older connection of the same agent.

        A host that lost its network may reconnect before the hub has noticed, so the newer
        connection is the live one.
        """
        replaced = self._by_agent.get(sidecar.agent_id)
        self._by_agent[sidecar.agent_id] = sidecar
        if replaced is not None and replaced.connection is not sidecar.connection:
            replaced.connection.close(REPLACED)
        self._notify(sidecar.agent_id)

    def leave(self, sidecar: Sidecar) -> None:
        """Removes a sidecar, unless another connection has taken its place."""
        if self._by_agent.get(sidecar.agent_id) is sidecar:
            del self._by_agent[sidecar.agent_id]
            self._notify(sidecar.agent_id)

    def get(self, agent_id: str) -> Sidecar | None:
        """The connected sidecar of that agent, or None."""
        return self._by_agent.get(agent_id)

    def is_connected(self, agent_id: str) -> bool:
        """Whether a sidecar of that agent is connected."""
        return agent_id in self._by_agent

    def sidecars(self) -> list[Sidecar]:
        """All connected sidecars, sorted by agent_id."""
        return [self._by_agent[agent_id] for agent_id in sorted(self._by_agent)]

    def by_transport(self) -> dict[str, int]:
        """How many sidecars are connected, by transport."""
        return Counter(sidecar.transport for sidecar in self._by_agent.values())

    def close_token(self, token_id: str, now_ms: int) -> None:
        """Closes every connection that uses this token, which has been removed.

        The token may have expired earlier, because the hub prunes expired tokens late.
        """
        for sidecar in list(self._by_agent.values()):
            if sidecar.token_id == token_id:
                ends_ms = sidecar.token_expires_at_ms
                expired = ends_ms is not None and now_ms >= ends_ms
                sidecar.connection.close(TOKEN_EXPIRED if expired else TOKEN_REVOKED)

    def close_revoked(self) -> None:
        """Closes every connection whose client certificate is revoked."""
        for sidecar in list(self._by_agent.values()):
            if sidecar.certificate is not None and sidecar.certificate.is_revoked:
                sidecar.connection.close(CERTIFICATE_REVOKED)

    def _notify(self, agent_id: str) -> None:
        for listener in self._listeners:
            listener(agent_id)
