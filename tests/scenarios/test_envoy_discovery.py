"""A real Envoy takes the set of endpoints, and the cluster, in each way that it can."""

import yaml

from hub.cli.output.envoy_bootstrap import Bootstrap
from hub.transports.envoy_resources import CLUSTER, fleet_cluster
from tests.support.envoy import (
    InferenceServer,
    gateway_before,
    inference_servers,
    register,
)
from tests.support.hub import running_hub

OPEN = {"enabled": True, "require_keys": False}
CHAT = {"model": "m"}


async def test_the_cluster_itself_comes_from_the_hub(tmp_path):
    """CDS over the aggregated stream: the same cluster as in the printed configuration."""

    def without_cluster(text: str) -> str:
        config = yaml.safe_load(text)
        clusters = config["static_resources"]["clusters"]
        clusters[:] = [each for each in clusters if each["name"] != CLUSTER]
        (listener,) = config["static_resources"]["listeners"]
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["route_config"]["validate_clusters"] = False
        ads = {"ads": {}, "resource_api_version": "V3"}
        config["dynamic_resources"]["cds_config"] = ads
        return yaml.safe_dump(config)

    server = InferenceServer("one", ["m"])
    async with (
        running_hub(tmp_path / "hub", gateway=OPEN) as hub,
        inference_servers(server),
        gateway_before(hub, tmp_path, without_cluster) as gateway,
    ):
        await register(hub, gateway, server)
        status, answer, _ = await gateway.post(json=CHAT)
        assert (status, answer["served_by"]) == (200, "one")
        dump = f"http://{gateway.admin}/config_dump?resource=dynamic_active_clusters"
        async with gateway.session.get(dump) as response:
            (active,) = (await response.json(content_type=None))["configs"]
        sent = active["cluster"]
        assert sent["eds_cluster_config"] == fleet_cluster()["eds_cluster_config"]
        assert set(sent) - {"@type"} == set(fleet_cluster())


async def test_the_set_is_polled_over_rest(tmp_path):
    """Envoy's REST cannot send a header by itself, so a filter of the cluster adds the token."""
    server, late = InferenceServer("one", ["m"]), InferenceServer("late", ["n"])

    async with running_hub(tmp_path / "hub", gateway=OPEN) as hub, inference_servers(server, late):

        def polled(text: str) -> str:
            config = yaml.safe_load(text)
            token = config["dynamic_resources"]["ads_config"]["grpc_services"][0]
            clusters = config["static_resources"]["clusters"]
            (fleet,) = [each for each in clusters if each["name"] == CLUSTER]
            fleet["eds_cluster_config"]["eds_config"] = {
                "resource_api_version": "V3",
                "api_config_source": {
                    "api_type": "REST",
                    "transport_api_version": "V3",
                    "cluster_names": ["hub-http"],
                    "refresh_delay": "0.1s",
                },
            }
            host, _, port = hub.http_address.rpartition(":")
            at = {"socket_address": {"address": host, "port_value": int(port)}}
            kind = "type.googleapis.com/envoy.extensions"
            header = {"header": token["initial_metadata"][0]}
            add = {"append": header | {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
            options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
            filters = [
                {
                    "name": "token",
                    "typed_config": {
                        "@type": f"{kind}.filters.http.header_mutation.v3.HeaderMutation",
                        "mutations": {"request_mutations": [add]},
                    },
                },
                {
                    "name": "codec",
                    "typed_config": {
                        "@type": f"{kind}.filters.http.upstream_codec.v3.UpstreamCodec"
                    },
                },
            ]
            clusters.append(
                {
                    "name": "hub-http",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        options: {
                            "@type": f"type.googleapis.com/{options}",
                            "explicit_http_config": {"http_protocol_options": {}},
                            "http_filters": filters,
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "hub-http",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at}}]}],
                    },
                }
            )
            del config["dynamic_resources"]
            return yaml.safe_dump(config)

        async with gateway_before(hub, tmp_path, polled) as gateway:
            await register(hub, gateway, server)
            assert (await gateway.post(json=CHAT))[0] == 200
            await register(hub, gateway, late)
            assert (await gateway.post(json={"model": "n"}))[0] == 200


async def test_the_printed_cluster_differs_only_in_what_the_balancer_reports():
    config = yaml.safe_load(Bootstrap(hub="127.0.0.1:1", token="x").text())
    (printed,) = [e for e in config["static_resources"]["clusters"] if e["name"] == CLUSTER]
    assert printed == fleet_cluster(names_served=True)
