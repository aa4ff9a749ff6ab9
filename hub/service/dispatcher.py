"""The one way in: every request of every transport is one call to `Dispatcher.dispatch`.

    authenticate → authorize → rate limit → overload → read → validate → handle → audit → encode

A transport turns bytes into credentials and a request, and the reply or the error into
bytes. It does not access the registry or the store.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from types import CoroutineType
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from hub.contract import validation
from hub.contract.dialect.names import enum_word
from hub.contract.errors import (
    FieldViolation,
    InvalidToken,
    NotImplementedYet,
    RateLimited,
    RoleForbidden,
)
from hub.contract.rpcs import RPCS, Rpc, rpc
from hub.service import change_log
from hub.service.access.access_control import AccessControl, Credentials
from hub.service.access.caller import Caller, roles_that_may
from hub.service.access.rate_limits import ALLOWED, RateDecision
from hub.service.access.scopes import Scope
from hub.service.live_streams import LiveStreams
from hub.service.operations import OPERATIONS, Operation
from hub.service.overload.pressure import Level
from hub.service.overload.shedding import Overload, refused_at
from llmhub.v1.frame_pb2 import ReportResourcesResponse
from llmhub.v1.resources_pb2 import ROLE_ADMIN, Role

_REPORT: Final = rpc("ReportResources")

Reply = Message | bytes
"""A response message, or its encoding if the handler has one cached."""

Called = Rpc | Operation
"""What a request calls: an RPC of the contract, or an internal operation."""

# A handler has its own types of request and reply, which the table of handlers cannot express.
Handler = Callable[[Any, Caller, int], Any]


class Request(Protocol):
    """A request as decoded by a transport, and the errors in its encoding."""

    @property
    def message(self) -> Any:
        """The RPC's request message, or whatever the operation's handler takes."""
        ...

    @property
    def violations(self) -> Sequence[FieldViolation]:
        """The errors that the transport found when it decoded the message."""
        ...

    @property
    def is_valid(self) -> bool:
        """Whether the rules of the contract have already found the message valid."""
        ...


@dataclass(slots=True)
class Received:
    """A `Request` that the transport decoded without an error.

    A transport may pass the same object for equal requests to an RPC whose handler does not
    change its request.
    """

    message: Any
    violations: Sequence[FieldViolation] = ()
    is_valid: bool = False
    """Set by the dispatcher once it has found the message valid."""


Read = Callable[[], Request | Coroutine[Any, Any, Request]]
"""Reads the request, at once or when it has arrived. Raises HubError."""

Encode = Callable[[Any], Any]
"""Turns a reply into what the transport sends."""


@dataclass(slots=True)
class _Route:
    """How the dispatcher answers one RPC or operation."""

    called: Called
    handler: Handler
    roles: frozenset[Role]
    check: Callable[[Any, Sequence[FieldViolation]], None]
    streams: bool
    audited: bool
    refused_at: Level | None
    # How it answers callers whose token is limited to a part of the fleet; None: it does not.
    in_view: "_Route | None" = None


class Dispatcher:
    """Passes requests to the handlers that answer them."""

    def __init__(
        self,
        access: AccessControl,
        handlers: Sequence[object],
        streams: LiveStreams,
        overload: Overload | None = None,
    ) -> None:
        """A handler object answers the RPCs and operations that its methods are named after.

        A method with the suffix `_in_view` answers callers whose token is limited to a
        part of the fleet; without one, they are refused.
        """
        self._access = access
        self._streams = streams
        self._overload = overload or Overload()
        calls: Sequence[Called] = (*RPCS, *OPERATIONS)
        self._routes = {called: _route(called, handlers) for called in calls}

    # Any: the transport knows what its `encode` returns.
    def dispatch(
        self,
        called: Called,
        credentials: Credentials | Caller,
        read: Read,
        now_ms: int,
        *,
        encode: Encode | None = None,
        on_low: Callable[[RateDecision], None] | None = None,
    ) -> Any:
        """Answers one request. `now_ms` is when it arrived, in epoch milliseconds.

        A sidecar's connection is authenticated once; after that, the transport passes the
        `Caller` until the token expires. If the token is revoked, the hub closes the
        connection.

        Returns the reply of a unary RPC, and for a stream an asynchronous generator of
        replies that ends when the caller's token does. If the request has yet to arrive
        or the handler waits, returns a coroutine of the same; other calls cost no task and
        no turn of the loop.

        Calls `read` only after the caller is authenticated, authorized and within its
        rate limit. Calls `on_low` if the call leaves at most a fifth of the limit.
        Raises InvalidToken, RoleForbidden, ScopeForbidden, RateLimited, Overloaded,
        ValidationFailed and what the handler raises.
        """
        route = self._routes[called]
        access = self._access
        if isinstance(credentials, Caller):
            caller = credentials
        else:
            caller = credentials.authenticate(access, now_ms)
        principal = caller.principal
        if principal.expires_at_ms is not None and now_ms >= principal.expires_at_ms:
            raise InvalidToken("the token has expired")
        access.uses.note(principal, caller.remote_address, now_ms)
        if called.role is not None:
            if principal.role not in route.roles:
                raise _forbidden(called.name, called.role)
            if principal.scope is not None:
                route = _within(principal.scope, caller, route)
            # An agent has one bucket over all its tokens, whichever transport it uses.
            verdict = access.limiters[principal.role].take(
                principal.agent_id or principal.token_id, called.tier, now_ms
            )
            if verdict is not ALLOWED:
                if not verdict.allowed:
                    raise RateLimited(called.tier.wire_name, verdict.retry_after_ms)
                if on_low is not None:
                    on_low(verdict)
        overload = self._overload
        if overload.level and principal.role != ROLE_ADMIN:
            overload.require(route.refused_at, caller.transport, caller.remote_address)
            if called is _REPORT and overload.drops_report(principal.agent_id):
                return _drop(read(), encode)
        # Any: mypy does not see that only a coroutine function returns a coroutine.
        request: Any = read()
        if isinstance(request, CoroutineType):
            return self._answer_later(route, request, credentials, caller, now_ms, encode)
        return self._answer(route, request, caller, now_ms, encode)

    def close_token(self, token_id: str) -> None:
        """Ends the streams that were opened with a removed token."""
        self._streams.close_token(token_id)

    def close_revoked(self) -> None:
        """Ends the streams over connections whose client certificate is revoked."""
        self._streams.close_revoked()

    async def _answer_later(
        self,
        route: _Route,
        reading: Coroutine[Any, Any, Request],
        credentials: Credentials | Caller,
        caller: Caller,
        now_ms: int,
        encode: Encode | None,
    ) -> Any:
        request = await reading
        if not isinstance(credentials, Caller):
            # The token or the connection's certificate may have been revoked meanwhile, and no
            # stream of it was open to be ended.
            credentials.authenticate(self._access, now_ms)
        answer = self._answer(route, request, caller, now_ms, encode)
        return await answer if isinstance(answer, CoroutineType) else answer

    def _answer(
        self, route: _Route, request: Request, caller: Caller, now_ms: int, encode: Encode | None
    ) -> Any:
        message = request.message
        if not request.is_valid:
            route.check(message, request.violations)
            if type(request) is Received:
                request.is_valid = True
        reply = route.handler(message, caller, now_ms)
        if isinstance(reply, CoroutineType):
            return _finish(route, message, reply, caller, encode)
        if route.streams and isinstance(reply, AsyncIterator):
            return self._streams.guard(caller, reply)
        if route.audited:
            change_log.record(route.called.name, message, reply, caller)
        return reply if encode is None else encode(reply)


async def _finish(
    route: _Route,
    message: Any,
    handling: Coroutine[Any, Any, Any],
    caller: Caller,
    encode: Encode | None,
) -> Any:
    reply = await handling
    if route.audited:
        change_log.record(route.called.name, message, reply, caller)
    return reply if encode is None else encode(reply)


# Any: as `dispatch` returns it.
def _drop(request: Any, encode: Encode | None) -> Any:
    """Answers a report that is not looked at, once it has arrived."""
    reply = ReportResourcesResponse()
    answer = reply if encode is None else encode(reply)

    async def later() -> Any:
        await request
        return answer

    return later() if isinstance(request, CoroutineType) else answer


def _forbidden(name: str, needed: Role) -> RoleForbidden:
    role = enum_word(Role.DESCRIPTOR, needed)
    return RoleForbidden(f"{name} needs the role {role}")


def _within(scope: Scope, caller: Caller, route: _Route) -> _Route:
    """How to answer a caller with a scope. Raises ScopeForbidden."""
    called = route.called
    scope.require(called)
    if not scope.view:
        return route
    if route.in_view is None:
        raise caller.not_in_view(f"all that {called.name} shows")
    return route.in_view


def _route(called: Called, handlers: Sequence[object]) -> _Route:
    in_view = _method(f"{called.handler}_in_view", handlers)
    route = _Route(
        called,
        _method(called.handler, handlers) or _refusing(called),
        roles_that_may(called.role) if called.role is not None else frozenset(),
        validation.check if isinstance(called, Rpc) else _check_decoded,
        streams=called.streams,
        audited=called.name in change_log.AUDITED,
        refused_at=refused_at(called),
    )
    if in_view is not None:
        route.in_view = replace(route, handler=in_view)
    return route


def _check_decoded(_message: object, _violations: Sequence[FieldViolation]) -> None:
    """Checks nothing: the transport makes an operation's request and has already checked it."""


def _method(name: str, handlers: Sequence[object]) -> Handler | None:
    for handler in handlers:
        if (method := getattr(handler, name, None)) is not None:
            found: Handler = method
            return found
    return None


def _refusing(called: Called) -> Handler:
    def refuse(_message: object, _caller: Caller, _now_ms: int) -> Reply:
        raise NotImplementedYet(f"{called.name} is not implemented in this version of the hub")

    return refuse
