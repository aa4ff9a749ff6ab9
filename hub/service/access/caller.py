"""Who a caller is, once its credentials have been checked."""

from dataclasses import dataclass

from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid token.

    Only sidecars have an `agent_id`. `expires_at_ms` is when the token expires, or None
    if it never does; a connection must not outlive its token.
    """

    role: Role
    agent_id: str
    token_id: str
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal, its remote address and the transport ("ws", "grpc" or "http")."""

    principal: Principal
    remote_address: str
    transport: str


def roles_that_may(needed: Role) -> frozenset[Role]:
    """The roles that may call what needs the role `needed`; admins may also read."""
    return frozenset((needed, ROLE_ADMIN)) if needed == ROLE_READER else frozenset((needed,))
