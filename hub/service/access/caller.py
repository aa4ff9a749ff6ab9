"""Who a caller is, once its credentials have been checked."""

from dataclasses import dataclass

from hub.contract.errors import InvalidToken
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid token.

    Only sidecars have an `agent_id`. `expires_at_ms` is when the token ends, or None
    if it never does: a connection must not outlive its token.
    """

    role: Role
    agent_id: str
    token_id: str
    expires_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, from where, over which transport ("ws", "grpc" or "http").

    A caller is its own credentials until its token expires: a sidecar's connection
    proves once who it is. If the token is revoked, the hub closes the connection.
    """

    principal: Principal
    remote_address: str
    transport: str

    def authenticate(self, _access: object, now_ms: int) -> "Caller":
        """See `hub.service.access.credentials.Credentials`. Raises InvalidToken."""
        expires_at_ms = self.principal.expires_at_ms
        if expires_at_ms is not None and now_ms >= expires_at_ms:
            raise InvalidToken("the token has expired")
        return self


def roles_that_may(needed: Role) -> frozenset[Role]:
    """The roles that may call what needs `needed`: that role, and admins may also read."""
    return frozenset((needed, ROLE_ADMIN)) if needed == ROLE_READER else frozenset((needed,))
