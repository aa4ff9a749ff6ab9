"""How a caller proves its identity, and what the hub checks it against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hub.contract.errors import InvalidToken, TokenAgentMismatch
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.caller import Caller, Principal
from hub.service.access.certificates import CertificateIdentities
from hub.service.access.peer_certificate import PeerCertificate, require_valid
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.token_uses import TokenUses
from hub.service.access.tokens import TokenRegistry
from llmhub.v1.resources_pb2 import ROLE_SIDECAR, ROLE_UNSPECIFIED, Role


@dataclass(frozen=True, slots=True)
class AccessControl:
    """The hub's tokens and browser sessions, and a rate limiter for each role."""

    tokens: TokenRegistry
    browser_sessions: BrowserSessions
    limiters: Mapping[Role, RateLimiter]
    uses: TokenUses = field(default_factory=TokenUses)
    certificates: CertificateIdentities = field(default_factory=CertificateIdentities)

    def authenticate_agent(self, token: str, agent_id: str, now_ms: int) -> Principal:
        """Returns the principal of a sidecar token that is bound to `agent_id`.

        Raises InvalidToken, TokenAgentMismatch.
        """
        principal = self.tokens.authenticate(token, now_ms)
        if principal.role != ROLE_SIDECAR:
            raise InvalidToken("not a sidecar token")
        if principal.agent_id != agent_id:
            raise TokenAgentMismatch(
                f"the token is not bound to the agent {agent_id}", metadata={"agent_id": agent_id}
            )
        return principal


class Credentials(Protocol):
    """What a request carries to prove its caller; a transport reads it without checking it.

    A revoked certificate of the connection spoils every proof that comes over it.
    """

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """Returns the caller. Raises InvalidToken or another HubError."""
        ...


@dataclass(slots=True)
class BearerToken:
    """A token, sent with the request.

    A transport may keep it for later requests with the same token on the same connection:
    the token is looked up again only after some token has changed.
    """

    token: str = field(repr=False)
    remote_address: str
    transport: str
    certificate: PeerCertificate | None = None
    _known: tuple[TokenRegistry, int, Caller] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    @property
    def key(self) -> str:
        """What its calls are counted by."""
        return self.token

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Raises InvalidToken."""
        require_valid(self.certificate)
        tokens = access.tokens
        if self._known is not None:
            of, changes, caller = self._known
            expires_at_ms = caller.principal.expires_at_ms
            if (
                changes == tokens.changes
                and of is tokens
                and (expires_at_ms is None or now_ms < expires_at_ms)
            ):
                return caller
        principal = tokens.authenticate(self.token, now_ms)
        caller = Caller(principal, self.remote_address, self.transport, self.certificate)
        self._known = tokens, tokens.changes, caller
        return caller


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The connection's client certificate, verified by TLS."""

    certificate: PeerCertificate
    remote_address: str
    transport: str

    @property
    def key(self) -> str:
        """What its calls are counted by."""
        return ",".join(self.certificate.names)

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Raises InvalidToken."""
        require_valid(self.certificate)
        principal = access.certificates.principal(self.certificate, now_ms)
        return Caller(principal, self.remote_address, self.transport, self.certificate)


@dataclass(frozen=True, slots=True)
class BrowserCookie:
    """The id of a browser session, sent as a cookie over HTTP."""

    session_id: str = field(repr=False)
    remote_address: str
    certificate: PeerCertificate | None = None

    def authenticate(self, access: AccessControl, now_ms: int) -> Caller:
        """See `Credentials`. Raises InvalidToken."""
        require_valid(self.certificate)
        principal = access.browser_sessions.authenticate(self.session_id, now_ms)
        return Caller(principal, self.remote_address, "http", self.certificate)


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No credentials. The caller has no role, so it may call only what needs none."""

    remote_address: str
    transport: str

    def authenticate(self, _access: AccessControl, _now_ms: int) -> Caller:
        """See `Credentials`."""
        principal = Principal(ROLE_UNSPECIFIED, "", "")
        return Caller(principal, self.remote_address, self.transport)


def call_credentials(
    authorization: str, certificate: PeerCertificate | None, remote_address: str
) -> BearerToken | ClientCertificate:
    """The credentials of a gRPC call: its token if it has one, else the certificate.

    Raises InvalidToken if it has neither.
    """
    token = bearer_token(authorization)
    if token is not None:
        return BearerToken(token, remote_address, "grpc", certificate)
    if certificate is not None:
        return ClientCertificate(certificate, remote_address, "grpc")
    raise InvalidToken("metadata `authorization: Bearer <token>` is missing")


def bearer_token(authorization: str) -> str | None:
    """The token in an `Authorization` value (RFC 6750), or None if it has another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
