"""The client certificate of a connection, which may be revoked while the connection is open."""

from dataclasses import dataclass

from hub.contract.errors import InvalidToken


@dataclass(slots=True, weakref_slot=True)
class PeerCertificate:
    """The verified certificate of a connection's peer.

    `names` are its SANs, as "dns:gpu-1.lan" and "uri:spiffe://…", DNS names in lower case.
    `number` is the issuer's name and the serial number, which together name a certificate.
    `is_revoked` changes when the hub reads a revocation list.
    """

    names: tuple[str, ...]
    expires_at_ms: int
    number: tuple[bytes, int] = (b"", 0)
    is_revoked: bool = False


def require_valid(certificate: PeerCertificate | None) -> None:
    """Raises InvalidToken if the caller's connection has a certificate that is revoked."""
    if certificate is not None and certificate.is_revoked:
        raise InvalidToken("the client certificate is revoked")
