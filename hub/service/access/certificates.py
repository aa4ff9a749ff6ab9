"""What a client certificate proves: the settings map one of its names to a role and an agent."""

import re
from collections.abc import Sequence
from typing import Final

from hub.base.security_settings import CertificateIdentity
from hub.contract.errors import InvalidToken, TokenAgentMismatch
from hub.service.access.caller import Principal
from hub.service.access.peer_certificate import PeerCertificate
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR

_ROLES: Final = {"admin": ROLE_ADMIN, "reader": ROLE_READER, "sidecar": ROLE_SIDECAR}


class CertificateIdentities:
    """The identities of the settings; the first that fits one of the names counts."""

    def __init__(self, identities: Sequence[CertificateIdentity] = ()) -> None:
        self._identities = [(_pattern(each.san), each) for each in identities]

    def principal(self, certificate: PeerCertificate, now_ms: int) -> Principal:
        """Returns who the bearer is; it ends with the certificate. Raises InvalidToken."""
        if now_ms >= certificate.expires_at_ms:
            raise InvalidToken("the client certificate has expired")
        for pattern, identity in self._identities:
            for name in certificate.names:
                match = pattern.fullmatch(name)
                if match is not None:
                    part = match[1] if match.lastindex else ""
                    return Principal(
                        _ROLES[identity.role],
                        identity.agent_id.replace("*", part),
                        certificate_id(name),
                        certificate.expires_at_ms,
                        is_certified=True,
                    )
        raise InvalidToken("the client certificate stands for no role; send a token")

    def agent(self, certificate: PeerCertificate, agent_id: str, now_ms: int) -> Principal:
        """Returns the principal of a sidecar's certificate for that agent.

        Raises InvalidToken, TokenAgentMismatch.
        """
        principal = self.principal(certificate, now_ms)
        if principal.role != ROLE_SIDECAR:
            raise InvalidToken("not a sidecar's certificate")
        if principal.agent_id != agent_id:
            raise TokenAgentMismatch(
                f"the certificate does not stand for the agent {agent_id}",
                metadata={"agent_id": agent_id},
            )
        return principal


def certificate_id(name: str) -> str:
    """What stands for the id of a token where a certificate with that name is the proof."""
    return f"cert:{name}"


def _pattern(san: str) -> re.Pattern[str]:
    kind, _, name = san.partition(":")
    before, star, after = (name.lower() if kind == "dns" else name).partition("*")
    part = "([^./]+)" if star else ""
    return re.compile(f"{kind}:{re.escape(before)}{part}{re.escape(after)}")
