"""What every transport needs from the hub that it serves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hub.base.clock import Clock
from hub.base.settings import Network
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.dispatcher import Dispatcher
from hub.service.metrics.calls import Calls
from hub.service.overload.shedding import Overload
from hub.transports.certificate import ServerTls


@dataclass(frozen=True, slots=True)
class Readiness:
    """What health checks ask. Both return None, or the reason as a sentence.

    `why_not_ready` says why the hub cannot serve, `why_mistrusted` why it doubts its
    probes' results; a hub that doubts them still serves.
    """

    why_not_ready: Callable[[], str | None]
    why_mistrusted: Callable[[], str | None] = lambda: None


@dataclass(frozen=True, slots=True)
class TransportContext:
    """What all transports share.

    When a transport stops, running calls get `grace_s` seconds to end. `tls` is None if
    the hub serves without TLS.
    """

    dispatcher: Dispatcher
    calls: Calls
    clock: Clock
    readiness: Readiness
    grace_s: float
    trusted_proxies: Sequence[Network] = ()
    tls: ServerTls | None = None
    overload: Overload = field(default_factory=Overload)

    def certificate(self, encoded: bytes | None) -> PeerCertificate | None:
        """The certificate that a peer has shown. Raises InvalidToken if it is revoked."""
        return self.tls.peers.read(encoded) if self.tls is not None else None
