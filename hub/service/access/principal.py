"""Who a caller is, once its token has been checked."""

from dataclasses import dataclass

from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, Role


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid token.

    `agent_id` is empty but for sidecars. `expires_at_ms` is when the token ends
    (None: never): a connection that outlives its token must be closed.
    """

    role: Role
    agent_id: str
    token_id: str
    expires_at_ms: int | None = None

    def may(self, role: Role) -> bool:
        """Whether it may do what `role` is needed for: its own, and admins also read."""
        return self.role == role or (self.role == ROLE_ADMIN and role == ROLE_READER)
