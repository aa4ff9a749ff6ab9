"""AdminService: endpoints, as admins manage them."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hub.base.address import OLLAMA_PORT, AddressError, EndpointAddress, normalize_host
from hub.contract.errors import (
    EndpointDisabled,
    EndpointNotFound,
    FieldViolation,
    LimitReached,
    ValidationFailed,
)
from hub.probes.engine import ProbeEngine
from hub.registry.impact import lost_models
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.service.changes.registrar import Registrar, Registration, require
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CheckEndpointResponse,
    RegisterEndpointRequest,
    RegisterEndpointResponse,
    RemoveEndpointRequest,
    RemoveEndpointResponse,
    UpdateEndpointRequest,
    UpdateEndpointResponse,
    UpdateImpact,
)
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_ENABLED,
    ADMIN_STATE_UNSPECIFIED,
    SOURCE_MANUAL,
    Endpoint,
)

UPDATABLE = ("admin_state", "agent_id", "backend", "labels", "name")
"""The fields of Endpoint that UpdateEndpoint may change."""

_CHECK_TIMEOUT_S = 10.0


class EndpointHandlers:
    """Registers, updates, removes and checks endpoints."""

    def __init__(
        self,
        *,
        registrar: Registrar,
        trail: AuditTrail,
        probes: ProbeEngine,
        registry: Registry,
        in_flight: Callable[[str, int], int],
    ) -> None:
        """`in_flight` counts an endpoint's leases as of a time."""
        self._registrar = registrar
        self._trail = trail
        self._probes = probes
        self._registry = registry
        self._in_flight = in_flight

    async def register_endpoint(
        self, request: RegisterEndpointRequest, caller: Caller, now_ms: int
    ) -> RegisterEndpointResponse:
        """Raises ValidationFailed, TargetForbidden, LimitReached."""
        address = EndpointAddress(
            scheme=request.scheme or "http",
            host=self._probed_host(request.host),
            port=request.port or OLLAMA_PORT,
            base_path=request.base_path,
        )
        wanted = Registration(
            host=address.host,
            port=address.port,
            scheme=address.scheme,
            base_path=address.base_path,
            source=SOURCE_MANUAL,
            name=request.name or None,
            backend=request.backend,
            labels=dict(request.labels) or None,
            agent_id=request.agent_id or None,
            api_key=request.api_key if request.HasField("api_key") else None,
        )
        author = Author(self._trail, caller, "RegisterEndpoint", now_ms)
        endpoint = await self._registrar.register(address.id, wanted, now_ms, author)
        return RegisterEndpointResponse(endpoint=endpoint)

    def _probed_host(self, text: str) -> str:
        """Returns the canonical spelling of a host that may be probed.

        Raises ValidationFailed, TargetForbidden.
        """
        try:
            host = normalize_host(text)
        except AddressError as error:
            violation = FieldViolation("host", "invalid", str(error), text[:50])
            raise ValidationFailed([violation]) from error
        # The same rules that probes obey when they connect.
        self._probes.policy.require_host(host)
        return host

    def update_endpoint(
        self, request: UpdateEndpointRequest, caller: Caller, now_ms: int
    ) -> UpdateEndpointResponse | Coroutine[Any, Any, UpdateEndpointResponse]:
        """Raises ValidationFailed, EndpointNotFound, EtagMismatch."""
        wanted = request.endpoint
        paths = _updated_paths(request)
        etag = request.etag or wanted.etag

        def decide(current: Endpoint) -> Endpoint:
            return _updated(current, wanted, paths)

        current = require(self._registrar.current(wanted.id), wanted.id, etag)
        updated = decide(current)
        last_loaded, last_available = lost_models(self._registry, current, updated)
        impact = UpdateImpact(
            last_loaded_models=last_loaded,
            last_available_models=last_available,
            in_flight=self._in_flight(current.id, now_ms),
        )
        if request.validate_only:
            return UpdateEndpointResponse(endpoint=updated, impact=impact)
        author = Author(self._trail, caller, "UpdateEndpoint", now_ms)
        changing = self._registrar.update(wanted.id, decide, etag, author)
        return _answered(changing, impact)

    async def remove_endpoint(
        self, request: RemoveEndpointRequest, caller: Caller, now_ms: int
    ) -> RemoveEndpointResponse:
        """Raises EndpointNotFound, EtagMismatch."""
        author = Author(self._trail, caller, "RemoveEndpoint", now_ms)
        removed = await self._registrar.remove(request.id, request.etag, author)
        return RemoveEndpointResponse(id=removed)

    async def check_endpoint(
        self, request: CheckEndpointRequest, _caller: Caller, _now_ms: int
    ) -> CheckEndpointResponse:
        """Raises EndpointNotFound, EndpointDisabled, LimitReached."""
        current = require(self._registrar.current(request.id), request.id, "")
        if current.admin_state == ADMIN_STATE_DISABLED:
            raise EndpointDisabled(
                f"endpoint {request.id} is disabled; enable it first",
                metadata={"id": request.id},
            )
        try:
            await self._probes.check(current.id, _CHECK_TIMEOUT_S)
        except TimeoutError:
            # A probe takes much less time, so this one never started.
            raise LimitReached(
                "too many checks are waiting; try again",
                retry_after_ms=round(_CHECK_TIMEOUT_S * 1000),
            ) from None
        endpoint = self._registrar.current(request.id)
        if endpoint is None:
            raise EndpointNotFound(f"endpoint {request.id} was removed while it was checked")
        return CheckEndpointResponse(endpoint=endpoint)


async def _answered(changing: Awaitable[Endpoint], impact: UpdateImpact) -> UpdateEndpointResponse:
    return UpdateEndpointResponse(endpoint=await changing, impact=impact)


def _updated_paths(request: UpdateEndpointRequest) -> list[str]:
    """The fields to change. Raises ValidationFailed."""
    if not request.endpoint.id:
        raise ValidationFailed([FieldViolation("endpoint.id", "required", "is required")])
    paths = list(request.update_mask.paths)
    if not paths:
        return [name for name in UPDATABLE if _is_set(request.endpoint, name)]
    violations = [
        FieldViolation(
            f"update_mask.paths[{i}]",
            "invalid",
            f"cannot be updated; these can: {', '.join(UPDATABLE)}",
            path[:50],
        )
        for i, path in enumerate(paths)
        if path not in UPDATABLE
    ]
    if violations:
        raise ValidationFailed(violations)
    return paths


def _is_set(endpoint: Endpoint, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in endpoint.ListFields())


def _updated(current: Endpoint, wanted: Endpoint, paths: list[str]) -> Endpoint:
    """Returns the endpoint with the named fields from `wanted`; an unset field is cleared."""
    updated = Endpoint()
    updated.CopyFrom(current)
    for path in paths:
        updated.ClearField(path)
    chosen = Endpoint()
    chosen.CopyFrom(wanted)
    for descriptor, _ in wanted.ListFields():
        if descriptor.name not in paths:
            chosen.ClearField(descriptor.name)
    updated.MergeFrom(chosen)
    if "backend" in paths:
        updated.backend_detected = False
    if not updated.name:
        updated.name = updated.id
    if updated.admin_state == ADMIN_STATE_UNSPECIFIED:
        updated.admin_state = ADMIN_STATE_ENABLED
    return updated
