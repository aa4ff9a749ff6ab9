"""AdminService: what admins run the hub with."""

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter

from hub.base.address import OLLAMA_PORT, AddressError, EndpointAddress, normalize_host
from hub.contract.errors import (
    EndpointDisabled,
    EndpointNotFound,
    FieldViolation,
    LimitReached,
    SidecarNotFound,
    StoreUnavailable,
    TokenNotFound,
    ValidationFailed,
)
from hub.probes.address_policy import AddressPolicy
from hub.probes.engine import ProbeEngine
from hub.service.access.tokens import TokenRegistry
from hub.service.changes.audit_trail import AuditTrail, Author
from hub.service.changes.registrar import Registrar, Registration, require
from hub.service.dispatcher import Caller
from hub.service.handlers.paging import Pager
from hub.service.presence import Presence, disconnected
from hub.service.records import token_key
from hub.stores.store import Delete, Expect, Operation, PreconditionFailed, Store, StoreError
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CheckEndpointResponse,
    CreateTokenRequest,
    CreateTokenResponse,
    DisconnectSidecarRequest,
    DisconnectSidecarResponse,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListSidecarsRequest,
    ListSidecarsResponse,
    ListTokensRequest,
    ListTokensResponse,
    RegisterEndpointRequest,
    RegisterEndpointResponse,
    RemoveEndpointRequest,
    RemoveEndpointResponse,
    RevokeTokenRequest,
    RevokeTokenResponse,
    UpdateEndpointRequest,
    UpdateEndpointResponse,
    UpdateImpact,
)
from llmhub.v1.audit_pb2 import AuditState
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
# etcd takes 128 operations in a transaction; whoever makes tokens comes again.
_PRUNED_AT_ONCE = 64


class AdminHandlers:
    """Changes the registry and the tokens, and tells about the hub."""

    def __init__(
        self,
        *,
        registrar: Registrar,
        store: Store,
        tokens: TokenRegistry,
        presence: Presence,
        probes: ProbeEngine,
        policy: AddressPolicy,
        max_tokens: int,
        trail: AuditTrail,
        lost_models: Callable[[Endpoint, Endpoint], tuple[list[str], list[str]]],
        in_flight: Callable[[str, int], int],
        server_info: Callable[[], GetServerInfoResponse],
    ) -> None:
        """`lost_models` is `hub.registry.impact`'s; `in_flight` counts leases as of a time."""
        self._registrar = registrar
        self._store = store
        self._tokens = tokens
        self._presence = presence
        self._probes = probes
        self._policy = policy
        self._max_tokens = max_tokens
        self._creating: set[str] = set()
        self._trail = trail
        self._lost_models = lost_models
        self._in_flight = in_flight
        self._server_info = server_info

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
        """The one spelling of a host that may be probed.

        Raises ValidationFailed, TargetForbidden.
        """
        try:
            host = normalize_host(text)
        except AddressError as error:
            violation = FieldViolation("host", "invalid", str(error), text[:50])
            raise ValidationFailed([violation]) from error
        self._policy.require_host(host)
        return host

    def update_endpoint(
        self, request: UpdateEndpointRequest, caller: Caller, now_ms: int
    ) -> UpdateEndpointResponse | Awaitable[UpdateEndpointResponse]:
        """Raises ValidationFailed, EndpointNotFound, EtagMismatch."""
        wanted = request.endpoint
        paths = _updated_paths(request)
        etag = request.etag or wanted.etag

        def decide(current: Endpoint) -> Endpoint:
            return _updated(current, wanted, paths)

        current = require(self._registrar.current(wanted.id), wanted.id, etag)
        updated = decide(current)
        last_loaded, last_available = self._lost_models(current, updated)
        impact = UpdateImpact(
            last_loaded_models=last_loaded,
            last_available_models=last_available,
            in_flight=self._in_flight(wanted.id, now_ms),
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
        await self._registrar.remove(request.id, request.etag, author)
        return RemoveEndpointResponse(id=request.id)

    async def check_endpoint(
        self, request: CheckEndpointRequest, _caller: Caller, _now_ms: int
    ) -> CheckEndpointResponse:
        """Raises EndpointNotFound, EndpointDisabled, LimitReached."""
        current = require(self._registrar.current(request.id), request.id, "")
        if current.admin_state == ADMIN_STATE_DISABLED:
            raise EndpointDisabled(
                f"endpoint {request.id} is disabled; enable it to have it probed",
                metadata={"id": request.id},
            )
        try:
            await self._probes.check(request.id, _CHECK_TIMEOUT_S)
        except TimeoutError:
            # A probe ends by itself long before that, so it never had its turn.
            raise LimitReached(
                "too many checks wait for their turn; try again",
                retry_after_ms=round(_CHECK_TIMEOUT_S * 1000),
            ) from None
        endpoint = self._registrar.current(request.id)
        if endpoint is None:
            raise EndpointNotFound(f"endpoint {request.id} was removed while it was checked")
        return CheckEndpointResponse(endpoint=endpoint)

    def list_sidecars(
        self, request: ListSidecarsRequest, _caller: Caller, _now_ms: int
    ) -> ListSidecarsResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        following = (one for one in self._presence.sidecars() if one.agent_id > pager.after)
        page, token = pager.cut(following, attrgetter("agent_id"))
        return ListSidecarsResponse(sidecars=[one.info() for one in page], next_page_token=token)

    def disconnect_sidecar(
        self, request: DisconnectSidecarRequest, _caller: Caller, _now_ms: int
    ) -> DisconnectSidecarResponse:
        """Raises SidecarNotFound."""
        sidecar = self._presence.get(request.agent_id)
        if sidecar is None:
            raise SidecarNotFound(
                f"no sidecar of the agent {request.agent_id} is connected",
                metadata={"agent_id": request.agent_id},
            )
        sidecar.connection.close(disconnected(request.reason))
        return DisconnectSidecarResponse()

    async def create_token(
        self, request: CreateTokenRequest, caller: Caller, now_ms: int
    ) -> CreateTokenResponse:
        """Raises LimitReached, StoreUnavailable."""
        # Those on their way to the disk count; those that have just arrived do already.
        coming = sum(self._tokens.get(token_id) is None for token_id in self._creating)
        if self._tokens.count_valid(now_ms) + coming >= self._max_tokens:
            raise LimitReached(f"there are {self._max_tokens} valid tokens already; revoke some")
        ttl_ms = request.ttl.ToMilliseconds() if request.HasField("ttl") else None
        secret, info, put = self._tokens.mint(
            role=request.role,
            agent_id=request.agent_id,
            ttl_ms=ttl_ms,
            description=request.description,
            now_ms=now_ms,
        )
        # Whoever makes tokens takes out those that expired long ago.
        author = Author(self._trail, caller, "CreateToken", now_ms)
        audit = author.operations(token_key(info.id), None, AuditState(token_info=info))
        prune = [Delete(key) for key in self._tokens.outdated(now_ms)[:_PRUNED_AT_ONCE]]
        self._creating.add(info.id)
        try:
            await self._commit([put, *prune, *audit])
        finally:
            self._creating.discard(info.id)
        return CreateTokenResponse(token=secret, token_info=info)

    def list_tokens(
        self, request: ListTokensRequest, _caller: Caller, now_ms: int
    ) -> ListTokensResponse:
        """Raises InvalidPageToken."""
        pager = Pager(request)
        found = self._tokens.list(now_ms, include_expired=request.include_expired)
        page, token = pager.cut((info for info in found if info.id > pager.after), attrgetter("id"))
        return ListTokensResponse(tokens=page, next_page_token=token)

    async def revoke_token(
        self, request: RevokeTokenRequest, caller: Caller, now_ms: int
    ) -> RevokeTokenResponse:
        """Raises TokenNotFound, StoreUnavailable."""
        info = self._tokens.get(request.id)
        if info is None:
            raise _no_token(request.id)
        author = Author(self._trail, caller, "RevokeToken", now_ms)
        audit = author.operations(token_key(request.id), AuditState(token_info=info), None)
        expect = Expect(token_key(request.id), self._tokens.written_at(request.id))
        try:
            await self._commit([Delete(token_key(request.id)), *audit], [expect])
        except PreconditionFailed:
            # Another call was faster, and its audit event tells of the end.
            raise _no_token(request.id) from None
        return RevokeTokenResponse()

    def get_server_info(
        self, _request: GetServerInfoRequest, _caller: Caller, _now_ms: int
    ) -> GetServerInfoResponse:
        """Tells about the hub itself."""
        return self._server_info()

    async def _commit(self, operations: Sequence[Operation], expect: Sequence[Expect] = ()) -> None:
        """Raises PreconditionFailed, StoreUnavailable."""
        try:
            await self._store.commit(operations, expect)
        except StoreError as error:
            raise StoreUnavailable(f"the store did not take the change: {error}") from error


def _no_token(token_id: str) -> TokenNotFound:
    return TokenNotFound(f"there is no token {token_id}", metadata={"id": token_id})


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
    """The endpoint with the named fields as wanted; an unset one is cleared."""
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
