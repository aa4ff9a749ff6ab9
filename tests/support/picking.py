"""The picker without sockets: a real dispatcher, a registry filled by hand, Envoy's messages."""

import asyncio
from collections.abc import Sequence

from hub.base.clock import ManualClock
from hub.base.settings import GatewaySettings
from hub.registry.state import Registry
from hub.service.access.access_control import AccessControl, BearerToken
from hub.service.access.browser_sessions import BrowserSessions
from hub.service.access.caller import Caller, Principal
from hub.service.access.rate_limits import RateLimiter
from hub.service.access.scopes import compiled
from hub.service.access.tokens import TokenRegistry
from hub.service.changes.endpoint_keys import EndpointKeys
from hub.service.dispatcher import Dispatcher
from hub.service.endpoint_addresses import EndpointAddresses
from hub.service.handlers.gateway_listings import GatewayListings
from hub.service.handlers.pick_endpoint import PickHandlers
from hub.service.handlers.read_registry import RegistryHandlers
from hub.service.handlers.select_endpoint import SelectionHandlers
from hub.service.handlers.service_discovery import DiscoveryHandlers
from hub.service.live_streams import LiveStreams
from hub.service.picks import PickOutcome
from hub.stores.store import Entry
from hub.transports.grpc.picker.exchange import Exchange
from hub.transports.grpc.picker.picker_calls import PickerCalls
from hub.transports.grpc.picker.request_body import HeldBytes
from llmhub.gateway.v1 import processing_pb2 as pb
from llmhub.v1.endpoint_pb2 import Model
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, Role, TokenScope
from tests.support.fleet_of import NOW, add

CHAT = "/v1/chat/completions"


class Picking:
    """A hub's picker with one gateway, whose outcomes are collected."""

    def __init__(
        self,
        *,
        requires_keys: bool = False,
        fallbacks: int = 2,
        per_request: int = 100_000,
        **settings: object,
    ) -> None:
        self.clock = ManualClock(NOW)
        self.registry = Registry(first_revision=1_000)
        self.keys = EndpointKeys()
        self.tokens = TokenRegistry()
        self.selection = SelectionHandlers(self.registry, self.clock)
        self.addresses = EndpointAddresses(_resolve)
        self.picks = PickHandlers(
            self.registry,
            self.selection,
            self.addresses.of,
            self.keys,
            GatewaySettings(fallbacks=fallbacks, **settings),
        )
        self.held = HeldBytes(per_request=per_request, in_all=3 * per_request)
        roles = (ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR)
        self.access = AccessControl(
            self.tokens,
            BrowserSessions(self.tokens),
            {role: RateLimiter(enabled=False) for role in roles},
        )
        self.dispatcher = Dispatcher(
            self.access,
            [
                RegistryHandlers(self.registry),
                self.selection,
                self.picks,
                GatewayListings(self.registry),
                DiscoveryHandlers(self.registry),
            ],
            LiveStreams(self.clock),
        )
        self.calls = PickerCalls(
            self.dispatcher, self.clock, self.held, requires_keys=requires_keys
        )
        self.gateway = Caller(Principal(ROLE_ADMIN, "", "gateway"), "127.0.0.1", "grpc")
        self.outcomes: list[PickOutcome] = []

    def endpoint(self, id_: str, *models: Model, **fields: object) -> None:
        host, _, port = id_.rpartition(":")
        fields = {"host": host.strip("[]"), "port": int(port)} | fields
        add(self.registry, id_, *models, **fields)

    def api_key(self, id_: str, key: str) -> None:
        self.keys.apply_put(Entry(f"secrets/{id_}", key.encode(), 1))

    def token(self, role: Role = ROLE_READER, scope: TokenScope | None = None) -> str:
        secret, _, put = self.tokens.mint(role, "", None, "", NOW, scope)
        self.tokens.apply_put(Entry(put.key, put.value, 1))
        return secret

    def bearer(self, token: str) -> BearerToken:
        return BearerToken(token, "127.0.0.1", "grpc")

    def caller(self, role: Role = ROLE_READER, **scope: object) -> Caller:
        limits = compiled(TokenScope(**scope)) if scope else None
        return Caller(Principal(role, "", "t", scope=limits), "127.0.0.1", "grpc")

    def exchange(self) -> "Talk":
        return Talk(self)

    def leases(self) -> int:
        return len(self.selection.leases)


async def _resolve(_name: str) -> Sequence[str]:
    raise OSError


class Talk:
    """One stream with the picker."""

    def __init__(self, picking: Picking) -> None:
        self.exchange = Exchange(picking.calls, picking.gateway)

    def send(self, message: pb.ProcessingRequest) -> list[pb.ProcessingResponse]:
        """The replies to a message, waiting for none of them."""
        replies = self.exchange.receive(message.SerializeToString())
        if not isinstance(replies, tuple):
            replies = asyncio.run(_result(replies))
        return [pb.ProcessingResponse.FromString(each) for each in replies]

    def post(
        self, *chunks: bytes, path: str = CHAT, **given: object
    ) -> list[pb.ProcessingResponse]:
        """All replies to a whole request in the mode FULL_DUPLEX_STREAMED."""
        replies = self.send(headers(path=path, **given))
        for i, chunk in enumerate(chunks, start=1):
            replies += self.send(body(chunk, ended=i == len(chunks)))
        return replies


async def _result(replies):
    return await replies


def fields(**named: str) -> pb.HeaderMap:
    return pb.HeaderMap(
        headers=[
            pb.HeaderValue(key=key.replace("_", "-"), raw_value=value.encode())
            for key, value in named.items()
        ]
    )


def headers(
    *,
    path: str = CHAT,
    method: str = "POST",
    mode: int | None = pb.BODY_MODE_FULL_DUPLEX_STREAMED,
    ended: bool = False,
    early: bool = False,
    subset: object = None,
    **named: str,
) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    message.request_headers.headers.CopyFrom(fields(**{":path": path, ":method": method} | named))
    message.request_headers.end_of_stream = ended
    if mode is not None:
        message.protocol_config.request_body_mode = mode
        message.protocol_config.send_body_without_waiting_for_header_response = early
    if subset is not None:
        hint = message.metadata_context.filter_metadata["envoy.lb.subset_hint"]
        hint.update({"x-gateway-destination-endpoint-subset": subset})
    return message


def body(chunk: bytes, *, ended: bool = True) -> pb.ProcessingRequest:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=chunk, end_of_stream=ended))


def response(status: int = 200, *, ended: bool = False, upstream: str = "", **named: str):
    message = pb.ProcessingRequest()
    message.response_headers.headers.CopyFrom(fields(**{":status": str(status)} | named))
    message.response_headers.end_of_stream = ended
    if upstream:
        attributes = message.attributes["envoy.filters.http.ext_proc"]
        attributes.update({"upstream.address": upstream})
    return message


def destination(reply: pb.ProcessingResponse) -> str:
    """What the reply names to the load balancer; the header has the same."""
    named = reply.dynamic_metadata["envoy.lb"]["x-gateway-destination-endpoint"]
    assert set_headers(reply)["x-gateway-destination-endpoint"] == named
    return named


def mutation(reply: pb.ProcessingResponse) -> pb.HeaderMutation:
    kind = reply.WhichOneof("response")
    assert kind is not None
    return getattr(reply, kind).response.header_mutation


def set_headers(reply: pb.ProcessingResponse) -> dict[str, str]:
    options = mutation(reply).set_headers
    assert all(each.append_action == pb.APPEND_ACTION_OVERWRITE for each in options)
    return {each.header.key: each.header.raw_value.decode() for each in options}


def passed(replies: Sequence[pb.ProcessingResponse]) -> bytes:
    """The body that the server gets."""
    return b"".join(
        each.request_body.response.body_mutation.streamed_response.body
        for each in replies
        if each.WhichOneof("response") == "request_body"
    )


def refused(replies: Sequence[pb.ProcessingResponse]) -> pb.ImmediateResponse:
    assert replies[-1].WhichOneof("response") == "immediate_response", replies
    return replies[-1].immediate_response
