"""Selections from a registry, as the service makes them."""

from hub.base.clock import ManualClock
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.handlers.select_endpoint import SelectionHandlers
from llmhub.v1 import registry_service_pb2 as pb
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet_of import NOW


def caller(token: str) -> Caller:
    return Caller(Principal(ROLE_READER, "", token), "127.0.0.1", "grpc")


CALLER = caller("t")


class Selecting:
    def __init__(self, registry: Registry, **bounds: int) -> None:
        self.handlers = SelectionHandlers(registry, ManualClock(NOW), **bounds)
        self.now_ms = NOW

    def __call__(
        self, model: str = "m", *, lease_s: float = 0, by: Caller = CALLER, **fields: object
    ):
        request = pb.SelectEndpointRequest(model=model, **fields)
        if lease_s:
            request.lease_ttl.FromMilliseconds(round(lease_s * 1000))
        raw = self.handlers.select_endpoint(request, by, self.now_ms)
        assert isinstance(raw, bytes), "so few endpoints are judged immediately"
        return pb.SelectEndpointResponse.FromString(raw)

    def release(
        self, lease_id: str, outcome: pb.Outcome | None = None, by: Caller = CALLER
    ) -> None:
        request = pb.ReleaseSelectionRequest(lease_id=lease_id, outcome=outcome)
        self.handlers.release_selection(request, by, self.now_ms)


def chosen(response: pb.SelectEndpointResponse) -> list[str]:
    return [select_endpoint.endpoint.id for select_endpoint in response.selections]
