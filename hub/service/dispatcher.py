"""The one way in: authorize → rate limit → validate → carry out.

Every door (WebSocket, gRPC, HTTP) turns what it received into a request message
and comes here; nothing reaches the registry or the store by another way.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from hub.contract import validation
from hub.contract.dialect.names import enum_word
from hub.contract.errors import (
    FieldViolation,
    InvalidToken,
    NotImplementedYet,
    RateLimited,
    RoleForbidden,
    TokenAgentMismatch,
)
from hub.contract.rpcs import RPCS, Rpc
from hub.service import change_log
from hub.service.access.principal import Principal
from hub.service.access.rate_limits import RateDecision, RateLimiter
from hub.service.access.tokens import TokenRegistry
from llmhub.v1.resources_pb2 import ROLE_SIDECAR, Role


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, from where, through which door ("ws", "grpc" or "http")."""

    principal: Principal
    remote_address: str
    transport: str


Reply = Message | bytes
"""A response message, or its encoding where the handler had it at hand."""

_READY: Final = (bytes, Message)

# A handler knows its own request type, the table that holds it does not: hence Any.
Handler = Callable[[Any, Caller, int], Reply | Awaitable[Reply] | AsyncIterator[Reply]]


class Service:
    """Dispatches calls to the handlers that carry them out."""

    def __init__(
        self,
        *,
        tokens: TokenRegistry,
        limiters: Mapping[Role, RateLimiter],
        handlers: Sequence[object],
    ) -> None:
        self.tokens = tokens
        self._limiters = limiters
        self._handlers = {rpc: _find(rpc, handlers) for rpc in RPCS}

    def check(self, request: Message, violations: Sequence[FieldViolation] = ()) -> None:
        """Validates a request. Raises ValidationFailed."""
        validation.check(request, violations)

    def authenticate_agent(self, token: str, agent_id: str, now_ms: int) -> Principal:
        """The principal of a sidecar token that is bound to `agent_id`.

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

    def admit(self, rpc: Rpc, caller: Caller, now_ms: int) -> RateDecision:
        """Checks the caller's role, then takes one call from its rate limit.

        Raises RoleForbidden. A verdict that is not allowed is the door's to tell.
        """
        principal = caller.principal
        if not principal.may(rpc.role):
            needed = enum_word(Role.DESCRIPTOR, rpc.role)
            raise RoleForbidden(f"{rpc.name} needs the role {needed}")
        key = principal.agent_id or principal.token_id
        return self._limiters[principal.role].take(key, rpc.tier, now_ms)

    def execute(
        self,
        rpc: Rpc,
        request: Message,
        caller: Caller,
        now_ms: int,
        violations: Sequence[FieldViolation] = (),
    ) -> Reply | Awaitable[Reply] | AsyncIterator[Reply]:
        """Validates a request and carries it out.

        `violations` are those that the door found when it decoded the request.
        What needs no disk is done when this returns; else the caller awaits.
        Raises ValidationFailed and whatever the handler raises.
        """
        validation.check(request, violations)
        return self._handlers[rpc](request, caller, now_ms)

    async def carry_out(
        self,
        rpc: Rpc,
        request: Message,
        caller: Caller,
        now_ms: int,
        violations: Sequence[FieldViolation] = (),
    ) -> Reply:
        """Like `execute` for a unary RPC, awaited to its end. Raises HubError."""
        reply = self.execute(rpc, request, caller, now_ms, violations)
        if not isinstance(reply, _READY):
            assert isinstance(reply, Awaitable)
            reply = await reply
        change_log.record(rpc, request, reply, caller.principal, caller.transport)
        return reply

    def admit_or_raise(self, rpc: Rpc, caller: Caller, now_ms: int) -> None:
        """Like `admit`; raises RateLimited too."""
        verdict = self.admit(rpc, caller, now_ms)
        if not verdict.allowed:
            raise RateLimited(rpc.tier.wire_name, verdict.retry_after_ms)


def _find(rpc: Rpc, handlers: Sequence[object]) -> Handler:
    for handler in handlers:
        if (method := getattr(handler, rpc.handler, None)) is not None:
            found: Handler = method
            return found

    def refuse(_request: Message, _caller: Caller, _now_ms: int) -> Reply:
        raise NotImplementedYet(f"{rpc.name} is not implemented in this version of the hub")

    return refuse
