import pytest

from hub.transports.grpc.engines import for_gateways
from hub.transports.grpc.gateway_methods import NO_METHODS
from hub.transports.grpc.grpc_server import GrpcServer
from hub.transports.grpc.native_grpc_server import NativeGrpcServer
from tests.support.hub import running_hub


@pytest.mark.parametrize(("engine", "kind"), [("native", NativeGrpcServer), ("grpcio", GrpcServer)])
async def test_the_settings_choose_the_server(tmp_path, engine, kind):
    async with running_hub(tmp_path, grpc={"engine": engine}) as hub:
        listeners = hub.hub._listeners
        assert listeners is not None
        assert type(listeners._grpc) is kind
        assert for_gateways(hub.settings, None) is NO_METHODS


async def test_gateways_get_the_picker_and_discovery(tmp_path):
    async with running_hub(tmp_path, gateway={"enabled": True}) as hub:
        listeners = hub.hub._listeners
        assert listeners is not None
        methods = for_gateways(hub.settings, listeners._http._context)
        assert {each.name for each in methods.methods} == {
            "Process",
            "StreamAggregatedResources",
            "StreamEndpoints",
        }
        assert "readiness" in methods.health_names
