"""`POST /api/rpc/<name>`: every unary RPC of services and admins, with JSON bodies.

The body is the RPC's request in the JSON dialect and may be missing; the reply is its
response. So whatever gRPC can do, the dashboard and a caller with no gRPC can do.
"""

from typing import Final

from aiohttp import web
from google.protobuf.message import Message

from hub.contract.dialect.decode import compile_decoder
from hub.contract.dialect.encode import to_json_bytes
from hub.contract.rpcs import RPCS, Rpc
from hub.service.dispatcher import Request
from hub.transports.http.authentication import HttpCalls, json_body
from llmhub.v1.resources_pb2 import ROLE_SIDECAR

PREFIX: Final = "/api/rpc/"

HTTP_RPCS: Final[tuple[Rpc, ...]] = tuple(
    each
    for each in RPCS
    if not each.streams and each.role != ROLE_SIDECAR and each.name != "GetSnapshot"
)
"""The RPCs that HTTP offers.

Streams need gRPC, and sidecars have frames of their own. A snapshot may be long: its own
route answers from parts that are encoded already.
"""


class RpcRoutes:
    """One route for each of `HTTP_RPCS`."""

    def __init__(self, calls: HttpCalls) -> None:
        self._calls = calls

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.post(PREFIX + each.name, _Route(self._calls, each).answer) for each in HTTP_RPCS
        ]


class _Route:
    """Answers the calls of one RPC."""

    def __init__(self, calls: HttpCalls, rpc: Rpc) -> None:
        self._calls = calls
        self._rpc = rpc
        self._decode = compile_decoder(rpc.request).decode

    async def answer(self, request: web.Request) -> web.Response:
        """Replies with the RPC's response. Raises HubError and what `json_body` raises."""

        async def read() -> Request:
            return self._decode(await json_body(request) if request.body_exists else {})

        return await self._calls.read(request, self._rpc, read, encode=self._encode)

    def _encode(self, reply: Message | bytes) -> bytes:
        # A handler that answers from a cache returns the encoded response.
        if isinstance(reply, bytes):
            reply = self._rpc.response.FromString(reply)
        return to_json_bytes(reply)
