"""SidecarService: what the sidecars on the inference hosts report."""

import ipaddress
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from hub.base.address import AddressError, EndpointAddress, normalize_host, parse_endpoint_url
from hub.base.clock import Clock
from hub.base.timestamps import to_timestamp
from hub.base.tls_files import IN_PLACE_OF_TOKEN
from hub.contract.dialect.frames import UnreadReport
from hub.contract.errors import (
    EndpointOwned,
    FieldViolation,
    InvalidToken,
    RateLimited,
    TargetForbidden,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.contract.rpcs import Tier
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.access.peer_certificate import require_valid
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.tokens import TokenRegistry
from hub.service.changes.claims import Claims
from hub.service.changes.registrar import Registration, default_name
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    SOURCE_AUTO,
    Backend,
    Endpoint,
)
from llmhub.v1.frame_pb2 import (
    EndpointRefused,
    IdentifyRequest,
    IdentifyResponse,
    PingRequest,
    PingResponse,
    ReportEndpointRequest,
    ReportEndpointResponse,
    ReportOllamaRequest,
    ReportOllamaResponse,
    ReportResourcesRequest,
    ReportResourcesResponse,
)

# The fields of an endpoint_report that say more than that the server exists.
_VIEW = ("reachable", "error", "version", "backend", "models")

_TAKEN = ReportResourcesResponse()


class SidecarHandlers:
    """Takes what sidecars report, each for the agent that its token is bound to."""

    def __init__(
        self,
        registry: Registry,
        claims: Claims,
        probes: ProbeEngine,
        clock: Clock,
        tokens: TokenRegistry,
        limiter: RateLimiter,
        *,
        only_own_addresses: bool = False,
    ) -> None:
        """`limiter` is that of the sidecars.

        With `only_own_addresses` a sidecar may report only servers at the address that it
        connects from, its own host, so that one stolen token cannot attract another's clients.
        """
        self._only_own_addresses = only_own_addresses
        self._limiter = limiter
        self._tokens = tokens
        self._registry = registry
        self._claims = claims
        self._probes = probes
        self._clock = clock

    def identify(
        self, request: IdentifyRequest, caller: Caller, now_ms: int
    ) -> IdentifyResponse | Coroutine[Any, Any, IdentifyResponse]:
        """Raises InvalidToken, TokenAgentMismatch, ValidationFailed, TargetForbidden and others.

        The token in the request must be the caller's. After a reply the transport may trust
        the connection.
        """
        _require_own_agent(request.agent_id, caller)
        if not self._bears(caller, request.token, now_ms):
            raise InvalidToken("the token in the request is not the token of the call")
        if not request.ollama_url:
            return IdentifyResponse(agent_id=request.agent_id)
        address = self._address("ollama_url", request.ollama_url, caller)
        return self._identify(address, request.token, caller, now_ms)

    def report_ollama(
        self, request: ReportOllamaRequest, caller: Caller, now_ms: int
    ) -> Coroutine[Any, Any, ReportOllamaResponse]:
        """Raises ValidationFailed, TargetForbidden and what a registration raises."""
        address = self._address("ollama_url", request.ollama_url, caller)
        return self._report_ollama(address, caller, now_ms)

    def report_endpoint(
        self, request: ReportEndpointRequest, caller: Caller, now_ms: int
    ) -> Coroutine[Any, Any, ReportEndpointResponse]:
        """Raises ValidationFailed, TargetForbidden, RateLimited and what a registration does."""
        address = self._address("url", request.url, caller)
        return self._report_endpoint(address, request, caller, now_ms)

    def report_resources(
        self, request: ReportResourcesRequest | UnreadReport, caller: Caller, now_ms: int
    ) -> ReportResourcesResponse:
        """Raises TokenAgentMismatch."""
        agent_id = caller.principal.agent_id
        if request.agent_id and request.agent_id != agent_id:
            _require_own_agent(request.agent_id, caller)
        self._registry.report_resources(agent_id, request, now_ms)
        return _TAKEN

    def ping(self, _request: PingRequest, _caller: Caller, _now_ms: int) -> PingResponse:
        """Answers with the hub's time."""
        return PingResponse(timestamp=to_timestamp(self._clock.now_ms()))

    def _bears(self, caller: Caller, token: str, now_ms: int) -> bool:
        """Whether the token in a request is the caller's own. Raises InvalidToken."""
        if caller.principal.is_certified:
            return token == IN_PLACE_OF_TOKEN
        return self._tokens.authenticate(token, now_ms) == caller.principal

    def _address(self, field: str, url: str, caller: Caller) -> EndpointAddress:
        address = _reported_address(field, url, caller)
        if self._only_own_addresses and not _is_own(address.host, caller):
            raise TargetForbidden(
                f"{field}: the hub's setting sidecars.addresses allows this sidecar only servers "
                f"at {caller.remote_address}, the address that it connects from"
            )
        return address

    async def _identify(
        self, address: EndpointAddress, token: str, caller: Caller, now_ms: int
    ) -> IdentifyResponse:
        refused = None
        try:
            await self._register_ollama(address, caller, now_ms)
        except EndpointOwned as error:
            # A squatter on the address must not lock its owner out of the hub.
            refused = EndpointRefused(
                endpoint_id=error.metadata["id"],
                reason=error.wire_code,
                owner=error.metadata["owner"],
                detail=error.message,
            )
        # The proof may have been revoked while the registration was written.
        require_valid(caller.certificate)
        if not caller.principal.is_certified:
            self._tokens.authenticate(token, now_ms)
        return IdentifyResponse(agent_id=caller.principal.agent_id, endpoint_refused=refused)

    async def _report_ollama(
        self, address: EndpointAddress, caller: Caller, now_ms: int
    ) -> ReportOllamaResponse:
        registered = await self._register_ollama(address, caller, now_ms)
        return ReportOllamaResponse(status="registered", endpoint_id=registered.id)

    async def _report_endpoint(
        self, address: EndpointAddress, request: ReportEndpointRequest, caller: Caller, now_ms: int
    ) -> ReportEndpointResponse:
        def charge() -> None:
            # A repeated report is cheap. Only a report that causes a write and a probe is
            # expensive.
            agent_id = caller.principal.agent_id
            verdict = self._limiter.take(agent_id, Tier.HEAVY, now_ms)
            if not verdict.allowed:
                raise RateLimited(Tier.HEAVY.wire_name, verdict.retry_after_ms)

        # The backend that the sidecar sees is an observation, not a registration. Otherwise
        # the hub would expect it from another server that uses the port later.
        name = request.name or None
        registered = await self._register(address, caller, now_ms, name=name, charge=charge)
        if any(_is_given(request, field) for field in _VIEW):
            agent_id = caller.principal.agent_id
            if self._registry.report_view(registered.id, agent_id, request, now_ms):
                # The hub trusts only its own probes, so it probes at once.
                is_doubted = request.HasField("reachable") and not request.reachable
                self._probes.hasten(registered.id, is_doubted=is_doubted)
        return ReportEndpointResponse(status="registered", endpoint_id=registered.id)

    async def _register_ollama(
        self, address: EndpointAddress, caller: Caller, now_ms: int
    ) -> Endpoint:
        name = default_name(caller.principal.agent_id)
        return await self._register(address, caller, now_ms, name=name, backend=BACKEND_OLLAMA)

    async def _register(
        self,
        address: EndpointAddress,
        caller: Caller,
        now_ms: int,
        *,
        name: str | None,
        backend: Backend = BACKEND_UNSPECIFIED,
        charge: Callable[[], None] | None = None,
    ) -> Endpoint:
        self._probes.policy.require_host(address.host)
        wanted = Registration(
            host=address.host,
            port=address.port,
            scheme=address.scheme,
            base_path=address.base_path,
            source=SOURCE_AUTO,
            name=name,
            backend=backend,
            agent_id=caller.principal.agent_id,
        )
        return await self._claims.register(address.id, wanted, now_ms, charge=charge)


def _is_given(request: ReportEndpointRequest, field: str) -> bool:
    if field == "models":
        return bool(request.models)
    return request.HasField(field)


def _require_own_agent(agent_id: str, caller: Caller) -> None:
    if agent_id != caller.principal.agent_id:
        raise TokenAgentMismatch(
            f"the token is not bound to the agent {agent_id}", metadata={"agent_id": agent_id}
        )


def _reported_address(field: str, url: str, caller: Caller) -> EndpointAddress:
    """Returns the address that a sidecar reports, as the hub can reach it.

    Raises ValidationFailed, ScopeForbidden.
    """
    try:
        address = parse_endpoint_url(url)
    except AddressError as error:
        raise ValidationFailed([FieldViolation(field, "invalid", str(error), url[:50])]) from error
    reached = _reachable(address, caller.remote_address)
    if caller.principal.scope is not None:
        caller.principal.scope.require_address(reached)
    return reached


def _reachable(address: EndpointAddress, remote_address: str) -> EndpointAddress:
    """The address for the hub's use.

    A sidecar that says "localhost" means its own host, which is where it connected from.
    On the hub's own machine the address is right as it is.
    """
    own = _ip(address.host)
    if not (
        address.host == "localhost"
        or address.host.endswith(".localhost")
        or (own is not None and (own.is_loopback or own.is_unspecified))
    ):
        return address
    remote = _ip(remote_address)
    if remote is not None and not remote.is_loopback:
        return replace(address, host=normalize_host(str(remote)))
    if own is not None and own.is_unspecified:
        # A wildcard is an address to listen on, not one to connect to.
        return replace(address, host="localhost")
    return address


def _is_own(host: str, caller: Caller) -> bool:
    """Whether `host` is the address that the caller connects from; all loopback is one host.

    A name is not: its records may lead anywhere.
    """
    named, remote = _ip("127.0.0.1" if host == "localhost" else host), _ip(caller.remote_address)
    if named is None or remote is None:
        return False
    return named == remote or (named.is_loopback and remote.is_loopback)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that `host` is, without its zone; None if it is a name.

    On a dual-stack socket an IPv4 peer has an IPv4-mapped address.
    """
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
