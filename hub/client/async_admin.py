"""The calls of an admin, a method for each RPC of AdminService."""

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

# After an action the hub probes the endpoint, which must not exceed the call's deadline.
_ACTION_GRACE_S = 15.0


class AsyncAdmin(AsyncConnection):
    """The calls of an admin.

    The hub answers a change once it is durable. Every call raises CallFailed. Its
    `reason` is INVALID_TOKEN or ROLE_FORBIDDEN if the token is not an admin's,
    VALIDATION_FAILED with `violations` if a value is out of bounds, or one that the
    method names. If an `etag` is given, it must equal the stored one; otherwise the call
    fails with ETAG_MISMATCH and changes nothing.
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

        The default port is 11434 for HOST, 80 for http://HOST and 443 for https://HOST.
        Without `backend` the hub detects the kind of server. Registering an endpoint again
        replaces name, backend, labels and agent; it keeps models, status and, if `api_key`
        is None, the key. Raises ClientError if `address` is invalid, CallFailed with
        TARGET_FORBIDDEN or LIMIT_REACHED.
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
        """Changes the values that are not None; `labels` replaces all labels.

        The response has the endpoint and, in `impact`, what the fleet loses by the
        change. With `validate_only` the response shows the result, but nothing changes.
        Fails with ENDPOINT_NOT_FOUND.
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
        """Stops selecting the endpoint; running leases continue. See `update`."""
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
        """Stops selecting and probing the endpoint. See `update`."""
        return await self.update(
            endpoint_id, admin_state=ADMIN_STATE_DISABLED, validate_only=validate_only
        )

    async def remove(self, endpoint_id: str, *, etag: str = "") -> None:
        """Removes an endpoint. Fails with ENDPOINT_NOT_FOUND."""
        await self.call("RemoveEndpoint", RemoveEndpointRequest(id=endpoint_id, etag=etag))

    async def check(self, endpoint_id: str) -> Endpoint:
        """Probes an endpoint now. Returns it with the result of the probe.

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
        """Makes the sidecar on the endpoint's host load a model. Returns once it is loaded.

        `keep_alive_s` is how long it stays loaded without requests (Ollama only). With
        `validate_only` the hub only checks whether it would ask the sidecar.
        Fails with ACTIONS_DISABLED, ENDPOINT_NOT_FOUND, MODEL_NOT_ON_ENDPOINT,
        SIDECAR_NOT_FOUND, ACTION_UNSUPPORTED, ACTION_IN_PROGRESS, ACTION_REFUSED,
        ACTION_FAILED, LIMIT_REACHED or, if the action may still be carried out,
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
        """Makes the sidecar on the endpoint's host unload a model. See `load_model`."""
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
        """The connected sidecars, sorted by agent_id, fetched as they are read."""
        return self._items("ListSidecars", ListSidecarsRequest(), "sidecars")

    async def disconnect_sidecar(self, agent_id: str, *, reason: str = "") -> None:
        """Closes a sidecar's connection and sends it `reason`; it may reconnect.

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
        """Creates a token. The response's `token` is its secret, which is shown only once.

        A sidecar's token is bound to `agent_id`. The token is valid for `ttl_s` seconds
        (1 s to 10 years), or until it is revoked. `scope` limits it to less than its role.
        The call is never retried, because a second attempt could create a second token.
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
        """Creates an alias, or replaces the one with its name; its `etag`, if set, must match."""
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
        """The changes that admins made, newest first, fetched as they are read.

        `resource`, such as "endpoints/10.0.0.1:11434", and `token_id` select matching
        events. The hub keeps the last 10,000.
        """
        request = ListAuditEventsRequest(resource=resource, token_id=token_id)
        return self._items("ListAuditEvents", request, "events")

    async def server_info(self) -> GetServerInfoResponse:
        """The hub itself: version, addresses, counts, self-preservation."""
        info: GetServerInfoResponse = await self.call("GetServerInfo", GetServerInfoRequest())
        return info
