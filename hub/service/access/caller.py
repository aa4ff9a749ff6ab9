"""Who a caller is, once its credentials have been checked."""

from dataclasses import dataclass

from hub.contract.errors import ScopeForbidden
from hub.registry.views import View
from hub.service.access.peer_certificate import PeerCertificate
from hub.service.access.scopes import Scope
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid token or certificate.

    Only sidecars have an `agent_id`. `expires_at_ms` is when the token expires, or None
    if it never does; a connection must not outlive its token. `scope` is None if only the
    role limits it. `is_certified`: a certificate is the proof, and `token_id` names it.
    """

    role: Role
    agent_id: str
    token_id: str
    expires_at_ms: int | None = None
    scope: Scope | None = None
    is_certified: bool = False

    @property
    def shown_role(self) -> Role:
        """The role by which a dashboard decides what to offer: read-only admins are readers."""
        return ROLE_READER if self.scope is not None and self.scope.read_only else self.role


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal, its remote address and the transport ("ws", "grpc" or "http").

    `certificate` is that of its connection, whatever proved the principal.
    """

    principal: Principal
    remote_address: str
    transport: str
    certificate: PeerCertificate | None = None

    @property
    def view(self) -> View:
        """The part of the fleet that it may see."""
        scope = self.principal.scope
        return scope.view if scope is not None else View()

    def not_in_view(self, what: str) -> ScopeForbidden:
        """The error for what the caller may not see, whether it exists or not."""
        view = self.view
        limit = " and ".join(name for name in ("labels", "models") if getattr(view, name))
        return ScopeForbidden(
            f"the token's scope ({limit}) does not include {what}", metadata={"scope": limit}
        )


def roles_that_may(needed: Role) -> frozenset[Role]:
    """The roles that may call what needs the role `needed`; admins may also read."""
    return frozenset((needed, ROLE_ADMIN)) if needed == ROLE_READER else frozenset((needed,))
