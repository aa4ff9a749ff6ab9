"""What a call's permission depends on: tokens, browser sessions and rate limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from hub.contract.errors import InvalidToken, TokenAgentMismatch
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.caller import Principal
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import TokenRegistry
from llmhub.v1.resources_pb2 import ROLE_SIDECAR, Role


@dataclass(frozen=True, slots=True)
class AccessControl:
    """The hub's tokens and browser sessions, and a rate limiter for each role."""

    tokens: TokenRegistry
    browser_sessions: BrowserSessions
    limiters: Mapping[Role, RateLimiter]

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
