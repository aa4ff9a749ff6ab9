"""What the picker asks of the hub, all through the dispatcher."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from hub.base.clock import Clock
from hub.base.version import hub_version
from hub.contract.errors import InvalidToken
from hub.service.access.access_control import BearerToken, Credentials, bearer_token
from hub.service.access.caller import Caller
from hub.service.access.tokens import PREFIX
from hub.service.dispatcher import Dispatcher, Received
from hub.service.operations import (
    GET_OPENAI_MODEL,
    LIST_OLLAMA_MODELS,
    LIST_OPENAI_MODELS,
    PICK_ENDPOINT,
    PROCESS_REQUESTS,
    Operation,
)
from hub.service.picks import PickRequest
from hub.transports.grpc.picker.inference_paths import Route, Served
from hub.transports.grpc.picker.request_body import HeldBytes

_LISTS: Final[Mapping[Served, Operation]] = {
    Served.OPENAI_MODELS: LIST_OPENAI_MODELS,
    Served.OPENAI_MODEL: GET_OPENAI_MODEL,
    Served.OLLAMA_MODELS: LIST_OLLAMA_MODELS,
}


class PickerCalls:
    """Calls the dispatcher for the client of a request, or for the gateway."""

    def __init__(
        self, dispatcher: Dispatcher, clock: Clock, held: HeldBytes, *, requires_keys: bool
    ) -> None:
        """With `requires_keys`, a request without a token of the hub is refused."""
        self._dispatch = dispatcher.dispatch
        self.now_ms = clock.now_ms
        self.held = held
        self._requires_keys = requires_keys

    def admit(self, credentials: Credentials) -> Caller:
        """The caller that opens a stream. Raises InvalidToken, RoleForbidden and others."""
        caller: Caller = self._dispatch(
            PROCESS_REQUESTS, credentials, lambda: Received(None), self.now_ms()
        )
        return caller

    # Any: a Pick, or a coroutine of it.
    def pick(self, gateway: Caller, headers: Mapping[str, str], wanted: PickRequest) -> Any:
        """The endpoints for a request. Raises HubError."""
        return self._dispatch(
            PICK_ENDPOINT, self._client(gateway, headers), lambda: Received(wanted), self.now_ms()
        )

    # Any: bytes, or a coroutine of them.
    def answer(self, gateway: Caller, headers: Mapping[str, str], route: Route) -> Any:
        """The body of an answer by the hub itself. Raises HubError."""
        client = self._client(gateway, headers)
        if route.served is Served.OLLAMA_VERSION:
            return orjson.dumps({"version": hub_version()})
        return self._dispatch(
            _LISTS[route.served], client, lambda: Received(route.model), self.now_ms()
        )

    def _client(self, gateway: Caller, headers: Mapping[str, str]) -> Credentials | Caller:
        """Whose request it is: the client's, if it shows a token of the hub.

        Raises InvalidToken.
        """
        token = bearer_token(headers.get("authorization", "")) or headers.get("x-api-key", "")
        if token.startswith(PREFIX):
            forwarded = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            return BearerToken(token, forwarded or gateway.remote_address, gateway.transport)
        if self._requires_keys:
            raise InvalidToken("send a token of the hub as `Authorization: Bearer <token>`")
        return gateway
