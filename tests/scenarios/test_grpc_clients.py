"""gRPC's real clients and a real proxy against a hub, with each of its gRPC servers.

Those in Python are in all other tests, those of reflection in test_tools.py. A test whose
client is not installed is skipped; `.ci/run` installs them.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from hub.client import Hub
from hub.contract import rpcs
from hub.contract.errors import EndpointNotFound
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import DESCRIPTOR, GetEndpointRequest, WatchRegistryRequest
from tests.scenarios.test_tools import run, tool
from tests.support.hub import RunningHub, failure_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

_CLIENTS = Path(__file__).parent / "clients"


async def _register(hub: RunningHub) -> str:
    request = RegisterEndpointRequest(host="127.0.0.1", port=9, name="one")
    return (await hub.call("RegisterEndpoint", request)).endpoint.id


async def test_grpcio_without_asyncio(hub):
    """The client of the package, in threads; a stream that is left before its end."""
    id_ = await _register(hub)

    def use() -> list[str]:
        with Hub(hub.grpc_address, token=hub.admin_token) as client:
            for _ in client.watch():
                break
            return [endpoint.id for endpoint in client.snapshot().endpoints]

    assert await asyncio.to_thread(use) == [id_]


def _descriptors(directory: Path) -> Path:
    """A file with the contract and all that it imports, the imported first."""
    files = FileDescriptorSet()
    seen: set[str] = set()

    def add(file) -> None:
        if file.name not in seen:
            seen.add(file.name)
            for imported in file.dependencies:
                add(imported)
            file.CopyToProto(files.file.add())

    add(DESCRIPTOR)
    path = directory / "contract.binpb"
    path.write_bytes(files.SerializeToString())
    return path


async def _node(script: str, package: str, *arguments: str) -> dict:
    node = tool("node")
    if (await run(node, "-e", f"require('{package}')"))[0]:
        pytest.skip(f"{package} is not in NODE_PATH")
    code, out, errors = await run(node, str(_CLIENTS / script), *arguments)
    assert code == 0, errors
    return json.loads(out)


@pytest.mark.parametrize(
    ("script", "package"),
    [
        ("grpc_js.cjs", "@grpc/grpc-js"),
        ("connect_grpc.cjs", "@connectrpc/connect-node"),
    ],
)
async def test_clients_of_node(hub, tmp_path, script, package):
    id_ = await _register(hub)
    arguments = hub.grpc_address, str(_descriptors(tmp_path)), hub.admin_token
    found = await _node(script, package, *arguments)
    assert found["endpoints"] == [id_]
    assert found["code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert "google.rpc.ErrorInfo" in found["details"]
    assert (found["answered"], found["watched"]) == (200, True)


async def test_ghz_has_every_call_answered(hub):
    await _register(hub)
    code, out, errors = await run(
        tool("ghz"),
        *("--insecure", "--format", "json", "--total", "2000", "--concurrency", "50"),
        *(
            "--connections",
            "5",
            "--timeout",
            "20s",
            "--call",
            "llmhub.v1.RegistryService/GetSnapshot",
        ),
        *("--metadata", json.dumps({"authorization": f"Bearer {hub.admin_token}"})),
        hub.grpc_address,
    )
    assert code == 0, errors
    assert json.loads(out)["statusCodeDistribution"] == {"OK": 2000}


@pytest.mark.parametrize(
    ("service", "healthy"), [("", True), ("llmhub.v1.RegistryService", True), ("none", False)]
)
async def test_the_health_probe_of_kubernetes(hub, service, healthy):
    code, _, errors = await run(
        tool("grpc-health-probe"), f"-addr={hub.grpc_address}", f"-service={service}"
    )
    assert (code == 0) is healthy, errors


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _envoy(hub: RunningHub, directory: Path) -> AsyncIterator[str]:
    """Envoy in front of the hub, which it checks with gRPC's health protocol; its address."""
    envoy, port = tool("envoy"), _free_port()

    def at(address: str) -> dict:
        host, _, number = address.rpartition(":")
        return {"socket_address": {"address": host, "port_value": int(number)}}

    http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    kind = "type.googleapis.com/"
    manager = {
        "@type": f"{kind}envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "hub",
        "codec_type": "HTTP2",
        "stream_idle_timeout": "60s",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "hub",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "hub", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{kind}envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    cluster = {
        "name": "hub",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {options: {"@type": f"{kind}{options}", **http2}},
        "health_checks": [
            {
                "timeout": "5s",
                "interval": "0.1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        "load_assignment": {
            "cluster_name": "hub",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(hub.grpc_address)}}]}],
        },
    }
    listener = {
        "name": "in",
        "address": at(f"127.0.0.1:{port}"),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    config = directory / "envoy.json"
    resources = {"listeners": [listener], "clusters": [cluster]}
    config.write_text(json.dumps({"static_resources": resources}))
    process = await asyncio.create_subprocess_exec(
        envoy,
        *("--config-path", str(config), "--use-dynamic-base-id", "--concurrency", "1"),
        *("--log-level", "error"),
        env=dict(os.environ),
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def test_envoy_in_front(hub, tmp_path):
    """Calls, an error with its details, and a stream that ends with its caller."""
    id_ = await _register(hub)
    async with (
        _envoy(hub, tmp_path) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        called = rpcs.rpc("GetEndpoint")
        get = channel.unary_unary(
            called.path,
            request_serializer=called.request.SerializeToString,
            response_deserializer=called.response.FromString,
        )
        metadata = hub.metadata(None)
        first = get(GetEndpointRequest(id=id_), metadata=metadata, timeout=30, wait_for_ready=True)
        assert (await first).endpoint.id == id_
        calls = [get(GetEndpointRequest(id=id_), metadata=metadata, timeout=30) for _ in range(200)]
        assert {reply.endpoint.id for reply in await asyncio.gather(*calls)} == {id_}
        refused = await failure_of(get(GetEndpointRequest(id="no.such:1"), metadata=metadata))
        assert refused.reason == EndpointNotFound("").reason_name
        watch = channel.unary_stream(rpcs.rpc("WatchRegistry").path)(
            WatchRegistryRequest().SerializeToString(), metadata=metadata
        )
        assert await watch.read()
        traffic = hub.hub._observability.traffic
        assert traffic.open_streams["WatchRegistry"] == 1
        watch.cancel()
        await wait_until(lambda: traffic.open_streams["WatchRegistry"] == 0)
