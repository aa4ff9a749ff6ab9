"""What an admin does with a hub, a method for each RPC of AdminService."""

from collections.abc import AsyncIterator, Mapping

from hub.base.address import EndpointAddress
from hub.client.async_connection import AsyncConnection
from hub.client.requests import duration, register_request, update_request
from llmhub.v1.admin_service_pb2 import (
    CheckEndpointRequest,
    CreateTokenRequest,
    CreateTokenResponse,
    DisconnectSidecarRequest,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListAuditEventsRequest,
    ListSidecarsRequest,
    ListTokensRequest,
    LoadModelRequest,
    LoadModelResponse,
    RemoveEndpointRequest,
    RemoveModelAliasRequest,
    RevokeTokenRequest,
    SetModelAliasRequest,
    UnloadModelRequest,
    UnloadModelResponse,
    UpdateEndpointResponse,
)
from llmhub.v1.audit_pb2 import AuditEvent
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    ADMIN_STATE_ENABLED,
    BACKEND_UNSPECIFIED,
    AdminState,
    Backend,
    Endpoint,
)
from llmhub.v1.model_alias_pb2 import ModelAlias
from llmhub.v1.resources_pb2 import Role, SidecarInfo, TokenInfo, TokenScope

# The hub probes the endpoint after an action, and has to say what it waited for.
_ACTION_GRACE_S = 15.0


class AsyncAdmin(AsyncConnection):
    """The admin's calls.

    The hub answers a change once it is on disk. Every call raises CallFailed; its
    `reason` is INVALID_TOKEN or ROLE_FORBIDDEN if the token is not an admin's,
    VALIDATION_FAILED with `violations` if a value is out of bounds, and what the
    method names. An `etag` that is given must be the one that is stored, else the
    call fails with ETAG_MISMATCH and changes nothing.
    """

    # Endpoints.

    async def register(
        self,
        address: str | EndpointAddress,
        *,
        name: str = "",
        backend: Backend = BACKEND_UNSPECIFIED,
        labels: Mapping[str, str] | None = None,
        agent_id: str = "",
        api_key: str | None = None,
    ) -> Endpoint:
        """Registers the endpoint at `address`, a URL or HOST[:PORT], or registers it again.

        Without a port, HOST means 11434, http://HOST 80 and https://HOST 443. Without
        `backend` the hub asks the server. To register it again replaces name, backend,
        labels and agent; it keeps models, status and, if `api_key` is None, the key.
        Raises ClientError if `address` is none, CallFailed with TARGET_FORBIDDEN or
        LIMIT_REACHED.
        """
        request = register_request(
            address, name=name, backend=backend, labels=labels, agent_id=agent_id, api_key=api_key
        )
        registered: Endpoint = (await self.call("RegisterEndpoint", request)).endpoint
        return registered

    async def update(
        self,
        endpoint_id: str,
        *,
        name: str | None = None,
        backend: Backend | None = None,
        labels: Mapping[str, str] | None = None,
        agent_id: str | None = None,
        admin_state: AdminState | None = None,
        etag: str = "",
        validate_only: bool = False,
    ) -> UpdateEndpointResponse:
        """Changes what is not None; `labels` replaces all labels.

        The response has the endpoint and, in `impact`, what the fleet loses by the
        change. With `validate_only` it says what would be, and nothing changes. Fails
        with ENDPOINT_NOT_FOUND.
        """
        request = update_request(
            endpoint_id,
            name=name,
            backend=backend,
            labels=labels,
            agent_id=agent_id,
            admin_state=admin_state,
            etag=etag,
            validate_only=validate_only,
        )
        updated: UpdateEndpointResponse = await self.call("UpdateEndpoint", request)
        return updated

    async def drain(
        self, endpoint_id: str, *, validate_only: bool = False
    ) -> UpdateEndpointResponse:
        """Selects the endpoint no more; leases that run there go on. See `update`."""
        return await self.update(
            endpoint_id, admin_state=ADMIN_STATE_DRAINING, validate_only=validate_only
        )

    async def enable(
        self, endpoint_id: str, *, validate_only: bool = False
    ) -> UpdateEndpointResponse:
        """Lets the endpoint be selected again. See `update`."""
        return await self.update(
            endpoint_id, admin_state=ADMIN_STATE_ENABLED, validate_only=validate_only
        )

    async def disable(
        self, endpoint_id: str, *, validate_only: bool = False
    ) -> UpdateEndpointResponse:
        """Neither selects nor probes the endpoint any more. See `update`."""
        return await self.update(
            endpoint_id, admin_state=ADMIN_STATE_DISABLED, validate_only=validate_only
        )

    async def remove(self, endpoint_id: str, *, etag: str = "") -> None:
        """Removes an endpoint. Fails with ENDPOINT_NOT_FOUND."""
        await self.call("RemoveEndpoint", RemoveEndpointRequest(id=endpoint_id, etag=etag))

    async def check(self, endpoint_id: str) -> Endpoint:
        """Probes an endpoint now; returns it as the probe left it.

        `status`, `fault` and `last_error` say what the probe saw. Fails with
        ENDPOINT_NOT_FOUND, ENDPOINT_DISABLED or LIMIT_REACHED.
        """
        response = await self.call("CheckEndpoint", CheckEndpointRequest(id=endpoint_id))
        checked: Endpoint = response.endpoint
        return checked

    async def load_model(
        self,
        endpoint_id: str,
        model: str,
        *,
        keep_alive_s: float | None = None,
        timeout_s: float = 300.0,
        validate_only: bool = False,
    ) -> LoadModelResponse:
        """Has the sidecar on the endpoint's host load a model; returns once it is loaded.

        `keep_alive_s` is how long it stays without requests (Ollama only). With
        `validate_only` the hub checks whether it would ask the sidecar, and asks nothing.
        Fails with ACTIONS_DISABLED, ENDPOINT_NOT_FOUND, MODEL_NOT_ON_ENDPOINT,
        SIDECAR_NOT_FOUND, ACTION_UNSUPPORTED, ACTION_IN_PROGRESS, ACTION_REFUSED,
        ACTION_FAILED, LIMIT_REACHED or, if it may still be carried out,
        ACTION_OUTCOME_UNKNOWN.
        """
        request = LoadModelRequest(
            endpoint_id=endpoint_id,
            model=model,
            keep_alive=duration(keep_alive_s),
            timeout=duration(timeout_s),
            validate_only=validate_only,
        )
        loaded: LoadModelResponse = await self.call(
            "LoadModel", request, timeout_s + _ACTION_GRACE_S
        )
        return loaded

    async def unload_model(
        self,
        endpoint_id: str,
        model: str,
        *,
        timeout_s: float = 300.0,
        validate_only: bool = False,
    ) -> UnloadModelResponse:
        """Has the sidecar on the endpoint's host unload a model. See `load_model`."""
        request = UnloadModelRequest(
            endpoint_id=endpoint_id,
            model=model,
            timeout=duration(timeout_s),
            validate_only=validate_only,
        )
        unloaded: UnloadModelResponse = await self.call(
            "UnloadModel", request, timeout_s + _ACTION_GRACE_S
        )
        return unloaded

    # Sidecars.

    def list_sidecars(self) -> AsyncIterator[SidecarInfo]:
        """The sidecars that are connected, sorted by agent_id, fetched as they are read."""
        return self._items("ListSidecars", ListSidecarsRequest(), "sidecars")

    async def disconnect_sidecar(self, agent_id: str, *, reason: str = "") -> None:
        """Closes a sidecar's connection and tells it `reason`; it may come back.

        Fails with SIDECAR_NOT_FOUND.
        """
        request = DisconnectSidecarRequest(agent_id=agent_id, reason=reason)
        await self.call("DisconnectSidecar", request)

    # Tokens.

    async def create_token(
        self,
        role: Role,
        *,
        agent_id: str = "",
        ttl_s: float | None = None,
        description: str = "",
        scope: TokenScope | None = None,
    ) -> CreateTokenResponse:
        """Creates a token; `token` of the response is its secret, which is shown this once.

        `agent_id` is what a sidecar's token is bound to, and no other's. The token is
        valid for `ttl_s` seconds (1 s to 10 years), or until it is revoked. `scope` limits
        it to less than its role. Never retried: a second try could create a second token.
        """
        request = CreateTokenRequest(
            role=role,
            agent_id=agent_id,
            ttl=duration(ttl_s),
            description=description,
            scope=scope,
        )
        created: CreateTokenResponse = await self.call("CreateToken", request)
        return created

    def list_tokens(self, *, include_expired: bool = False) -> AsyncIterator[TokenInfo]:
        """The tokens without their secrets, sorted by id, fetched as they are read."""
        request = ListTokensRequest(include_expired=include_expired)
        return self._items("ListTokens", request, "tokens")

    async def revoke_token(self, token_id: str) -> None:
        """Revokes a token by its id and disconnects the sidecar that uses it.

        Fails with TOKEN_NOT_FOUND.
        """
        await self.call("RevokeToken", RevokeTokenRequest(id=token_id))

    # Model aliases; `list_aliases` is a reader's call.

    async def set_alias(self, alias: ModelAlias) -> ModelAlias:
        """Creates an alias, or replaces the one of its name; an `etag` in it must match."""
        request = SetModelAliasRequest(alias=alias)
        stored: ModelAlias = (await self.call("SetModelAlias", request)).alias
        return stored

    async def remove_alias(self, name: str, *, etag: str = "") -> None:
        """Removes an alias. Fails with ALIAS_NOT_FOUND."""
        await self.call("RemoveModelAlias", RemoveModelAliasRequest(name=name, etag=etag))

    # The hub.

    def list_audit_events(
        self, *, resource: str = "", token_id: str = ""
    ) -> AsyncIterator[AuditEvent]:
        """What admins have changed, newest first, fetched as it is read.

        `resource`, such as "endpoints/10.0.0.1:11434", and `token_id` each keep the
        events that match. The hub keeps the last 10,000.
        """
        request = ListAuditEventsRequest(resource=resource, token_id=token_id)
        return self._items("ListAuditEvents", request, "events")

    async def server_info(self) -> GetServerInfoResponse:
        """The hub itself: version, addresses, counts, self-preservation."""
        info: GetServerInfoResponse = await self.call("GetServerInfo", GetServerInfoRequest())
        return info
