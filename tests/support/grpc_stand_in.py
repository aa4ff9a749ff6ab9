"""A gRPC server that stands in for the hub in the tests of the command.

TO BE REPLACED by the real hub once it can be started in a test: it is a real
server on a real socket with the real contract, but keeps only what the
commands' tests look at, and validates nothing.
"""

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from hub.contract.errors import (
    EndpointNotFound,
    FieldViolation,
    HubError,
    InvalidToken,
    RateLimited,
    RoleForbidden,
    TokenNotFound,
    ValidationFailed,
)
from llmhub.v1 import admin_service_pb2, endpoint_pb2, registry_service_pb2, resources_pb2
from llmhub.v1.admin_service_pb2_grpc import (
    AdminServiceServicer,
    add_AdminServiceServicer_to_server,
)
from llmhub.v1.registry_service_pb2_grpc import (
    RegistryServiceServicer,
    add_RegistryServiceServicer_to_server,
)

ADMIN_TOKEN = "llmhub_stand_in-admin"
READER_TOKEN = "llmhub_stand_in-reader"


@dataclass
class StandIn:
    """What the server holds, and what it was asked."""

    address: str = ""
    endpoints: dict[str, endpoint_pb2.Endpoint] = field(default_factory=dict)
    tokens: dict[str, resources_pb2.TokenInfo] = field(default_factory=dict)
    resources: dict[str, resources_pb2.HostResources] = field(default_factory=dict)
    requests: list[object] = field(default_factory=list)
    page_size: int = 2
    release: Event | None = None


def abort(context: grpc.ServicerContext, error: HubError) -> None:
    details = [
        error_details_pb2.ErrorInfo(
            reason=error.reason_name, domain="llmhub", metadata=error.metadata
        )
    ]
    if isinstance(error, ValidationFailed):
        bad = error_details_pb2.BadRequest()
        for each in error.violations:
            bad.field_violations.add(field=each.field, description=each.detail)
        details.append(bad)
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(retry)
    status = status_pb2.Status(code=error.code, message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    code = next(each for each in grpc.StatusCode if each.value[0] == error.code)
    context.abort(code, error.message)


def require(context: grpc.ServicerContext, *tokens: str) -> None:
    given = dict(context.invocation_metadata()).get("authorization", "").removeprefix("Bearer ")
    if given not in {ADMIN_TOKEN, READER_TOKEN}:
        abort(context, InvalidToken("the token is wrong"))
    if given not in tokens:
        abort(context, RoleForbidden("this needs the role admin"))


class Admin(AdminServiceServicer):
    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def RegisterEndpoint(self, request, context):
        require(context, ADMIN_TOKEN)
        self.stand_in.requests.append(request)
        if request.host == "limited.lan":
            abort(context, RateLimited("heavy", 1500))
        if "bad" in request.labels:
            violations = [
                FieldViolation('labels["bad"]', "too_long", "exceeds maximum length of 256"),
                FieldViolation("name", "invalid", "must have no\ncontrol characters"),
            ]
            abort(context, ValidationFailed(violations))
        endpoint = endpoint_pb2.Endpoint(
            id=f"{request.host}:{request.port}",
            host=request.host,
            port=request.port,
            scheme=request.scheme,
            name=request.name or f"{request.host}:{request.port}",
            backend=request.backend,
            status=endpoint_pb2.STATUS_UNKNOWN,
            labels=request.labels,
        )
        self.stand_in.endpoints[endpoint.id] = endpoint
        return admin_service_pb2.RegisterEndpointResponse(endpoint=endpoint)

    def RemoveEndpoint(self, request, context):
        require(context, ADMIN_TOKEN)
        if self.stand_in.endpoints.pop(request.id, None) is None:
            abort(context, EndpointNotFound(f"there is no endpoint {request.id}"))
        return admin_service_pb2.RemoveEndpointResponse(id=request.id)

    def CreateToken(self, request, context):
        require(context, ADMIN_TOKEN)
        info = resources_pb2.TokenInfo(
            id=f"t{len(self.stand_in.tokens) + 1}",
            role=request.role,
            agent_id=request.agent_id,
            description=request.description,
        )
        info.created_at.FromSeconds(1_800_000_000)
        if request.HasField("ttl"):
            info.expires_at.FromSeconds(1_800_000_000 + request.ttl.seconds)
        self.stand_in.tokens[info.id] = info
        return admin_service_pb2.CreateTokenResponse(
            token=f"llmhub_{info.id}_secret", token_info=info
        )

    def ListTokens(self, request, context):
        require(context, ADMIN_TOKEN)
        known = self.stand_in.tokens
        listed = [id_ for id_ in sorted(known) if request.include_expired or not known[id_].expired]
        page, following = self._page(listed, request.page_token)
        return admin_service_pb2.ListTokensResponse(
            tokens=[self.stand_in.tokens[each] for each in page], next_page_token=following
        )

    def RevokeToken(self, request, context):
        require(context, ADMIN_TOKEN)
        if self.stand_in.tokens.pop(request.id, None) is None:
            abort(context, TokenNotFound(f"there is no token {request.id}"))
        return admin_service_pb2.RevokeTokenResponse()

    def _page(self, keys: list[str], page_token: str) -> tuple[list[str], str]:
        start = int(page_token or 0)
        end = start + self.stand_in.page_size
        return keys[start:end], str(end) if end < len(keys) else ""


class Registry(RegistryServiceServicer):
    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in

    def ListEndpoints(self, request, context):
        require(context, ADMIN_TOKEN, READER_TOKEN)
        self.stand_in.requests.append(request)
        found = [
            endpoint
            for _, endpoint in sorted(self.stand_in.endpoints.items())
            if request.status in {endpoint_pb2.STATUS_UNSPECIFIED, endpoint.status}
        ]
        start = int(request.page_token or 0)
        end = start + self.stand_in.page_size
        return registry_service_pb2.ListEndpointsResponse(
            endpoints=found[start:end], next_page_token=str(end) if end < len(found) else ""
        )

    def GetSnapshot(self, request, context):
        require(context, ADMIN_TOKEN, READER_TOKEN)
        if self.stand_in.release is not None:
            self.stand_in.release.wait(30)
        snapshot = resources_pb2.Snapshot(
            endpoints=[each for _, each in sorted(self.stand_in.endpoints.items())],
            resources=self.stand_in.resources,
            revision=7,
        )
        for endpoint in snapshot.endpoints:
            for model in endpoint.models:
                snapshot.fleet_models[model.name] += 1
        return registry_service_pb2.GetSnapshotResponse(snapshot=snapshot)


@contextmanager
def running_stand_in() -> Iterator[StandIn]:
    """A server on a free port of 127.0.0.1, stopped at the end."""
    stand_in = StandIn()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    add_AdminServiceServicer_to_server(Admin(stand_in), server)
    add_RegistryServiceServicer_to_server(Registry(stand_in), server)
    stand_in.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield stand_in
    finally:
        if stand_in.release is not None:
            stand_in.release.set()
        server.stop(None).wait(30)
