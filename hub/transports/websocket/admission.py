"""Which connections may stay: how many there are, in all and from each address.

A connection is first a handshake, then it is open and has yet to identify, then it is
identified. Strangers reach the first two; so these have bounds of their own. If there are too
many handshakes in all, the oldest one of the address with the most gives way, so that a few
addresses cannot keep the others out.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Final

from websockets.http11 import Request

from hub.base.settings import Network, WsSettings
from hub.contract.errors import InvalidToken, Overloaded
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.metrics.counts import Traffic
from hub.service.overload.shedding import Overload
from hub.transports.arrivals import Arrivals
from hub.transports.certificate import ServerTls
from hub.transports.peer import is_trusted, network_of, peer_address
from hub.transports.websocket.websocket_limits import WebSocketLimits

# Even a hub with few connections has room for so many handshakes, and for so many refusals.
_FEWEST: Final = 16


class _Stage(Enum):
    NEW = auto()
    HANDSHAKE = auto()
    UNIDENTIFIED = auto()
    IDENTIFIED = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The HTTP response to a handshake that is not admitted."""

    status: HTTPStatus
    text: str
    retry_after_s: int | None = None


class Admission:
    """The counts of one server. Refusals for lack of room are counted by bound in `traffic`."""

    def __init__(
        self,
        settings: WsSettings,
        limits: WebSocketLimits,
        traffic: Traffic,
        trusted_proxies: Sequence[Network],
        overload: Overload | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self.tls = tls
        self.overload = overload or Overload()
        self.settings = settings
        self.limits = limits
        self.traffic = traffic
        self.trusted_proxies = trusted_proxies
        most = max(_FEWEST, settings.max_connections // 8)
        handshakes = min(limits.handshakes, most)
        self.handshakes: Arrivals[Place] = Arrivals(per_network=sys.maxsize, in_all=handshakes)
        self._refused = min(limits.refused, most)
        self.unidentified: Counter[str] = Counter()
        self.connections: Counter[str] = Counter()

    def has_room_to_refuse(self, connections: int) -> bool:
        """Whether one more of so many connections may wait until its refusal is read."""
        refused = connections - len(self.handshakes) - self.traffic.websockets
        return refused <= self._refused

    def note_evicted(self, network: str) -> None:
        """A TLS handshake of that network made room for another one."""
        self.note("tls_handshakes", network)

    def note(self, bound: str, network: str) -> None:
        """A bound refused a connection of that network."""
        self.traffic.websocket_refusals[bound] += 1
        self.traffic.refusals.note("ws", bound, network)


class Place:
    """One connection's place in the counts."""

    __slots__ = ("_address", "_admission", "_cut", "_stage", "certificate")

    def __init__(self, admission: Admission, cut: Callable[[], None]) -> None:
        """`cut` ends the connection: a later one needs the place of its handshake."""
        self._admission = admission
        self._cut = cut
        self._stage = _Stage.NEW
        self._address = ""
        self.certificate: PeerCertificate | None = None
        """The client certificate of an admitted sidecar."""

    def begin(self, peer: str) -> Refusal | None:
        """A handshake begins, from that IP address; returns why not, if it is refused."""
        admission, limits = self._admission, self._admission.limits
        # A proxy speaks for many; whom it speaks for is only in the request.
        is_proxy = is_trusted(peer, admission.trusted_proxies)
        self._address = "" if is_proxy else network_of(peer)
        try:
            admission.overload.require_connection("ws", peer)
        except Overloaded as error:
            wait_s = math.ceil((error.retry_after_ms or 0) / 1000)
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"{error.message}\n", wait_s)
        handshakes = admission.handshakes
        if self._address and handshakes.count(self._address) >= limits.handshakes_per_address:
            return self._refuse("handshakes_per_address")
        while (oldest := handshakes.to_evict(self._address)) is not None:
            admission.note("handshakes", handshakes.network(oldest))
            oldest.leave()
            oldest._cut()
        self._stage = _Stage.HANDSHAKE
        handshakes.add(self, self._address)
        return None

    def open(self, peer: str, request: Request, shown: bytes | None = None) -> str | Refusal:
        """The handshake's request is there: returns the sidecar's IP address if it is admitted.

        `shown` is the certificate that it has shown, in DER.
        """
        admission, settings = self._admission, self._admission.settings
        if request.path.partition("?")[0] != settings.path:
            return Refusal(HTTPStatus.NOT_FOUND, f"sidecars connect to {settings.path}\n")
        try:
            self.certificate = admission.tls.peers.read(shown) if admission.tls else None
        except InvalidToken as error:
            return Refusal(HTTPStatus.UNAUTHORIZED, f"{error.message}\n")
        forwarded = ",".join(request.headers.get_all("X-Forwarded-For"))
        address = peer_address(peer, admission.trusted_proxies, forwarded)
        network = network_of(address)
        if admission.traffic.websockets >= settings.max_connections:
            return self._refuse("connections")
        if admission.connections[network] >= settings.max_connections_per_address:
            return self._refuse("connections_per_address")
        if admission.unidentified[network] >= settings.max_unidentified_per_address:
            return self._refuse("unidentified_per_address")
        self.leave()
        self._address = network
        self._stage = _Stage.UNIDENTIFIED
        admission.traffic.websockets += 1
        admission.connections[network] += 1
        admission.unidentified[network] += 1
        return address

    def identify(self) -> None:
        """The sidecar has identified. Idempotent."""
        if self._stage is _Stage.UNIDENTIFIED:
            self._stage = _Stage.IDENTIFIED
            _take_one(self._admission.unidentified, self._address)

    def leave(self) -> None:
        """The connection is gone. Idempotent."""
        admission, stage, self._stage = self._admission, self._stage, _Stage.NEW
        if stage is _Stage.HANDSHAKE:
            admission.handshakes.discard(self)
        elif stage is not _Stage.NEW:
            admission.traffic.websockets -= 1
            _take_one(admission.connections, self._address)
            if stage is _Stage.UNIDENTIFIED:
                _take_one(admission.unidentified, self._address)

    def _refuse(self, bound: str) -> Refusal:
        self._admission.note(bound, self._address)
        retry_after_s = self._admission.limits.retry_after_s
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n", retry_after_s)


def _take_one(counts: Counter[str], address: str) -> None:
    counts[address] -= 1
    if not counts[address]:
        del counts[address]
