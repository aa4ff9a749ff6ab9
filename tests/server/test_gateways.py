import socket

import pytest

from hub.service.operations import PICK_ENDPOINT
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support.hub import running_hub
from tests.support.waiting import wait_until


async def test_names_are_resolved_while_the_hub_runs_and_keys_follow_the_store(tmp_path):
    async with running_hub(tmp_path, gateway={"enabled": True}) as hub:
        fleet = hub.hub._fleet
        assert fleet is not None
        gateways = fleet.gateways
        endpoint = Endpoint(host="localhost", port=8)
        await wait_until(lambda: gateways.addresses.of(endpoint) == "127.0.0.1:8")
        request = RegisterEndpointRequest(host="127.0.0.1", port=9, api_key="k")
        await hub.call("RegisterEndpoint", request)
        assert gateways.keys.get("127.0.0.1:9") == "k"
        assert hub.handlers_of(PICK_ENDPOINT)._keys is gateways.keys


async def test_an_address_that_may_not_be_probed_is_not_given_to_gateways(tmp_path):
    probes = {"allow": ["192.0.2.0/24"]}
    async with running_hub(tmp_path, gateway={"enabled": True}, probes=probes) as hub:
        fleet = hub.hub._fleet
        assert fleet is not None
        assert await fleet.gateways._allowed("localhost") == []
        with pytest.raises(socket.gaierror):
            await fleet.gateways._allowed("no-such-name.invalid")


async def test_a_hub_without_gateways_resolves_nothing(tmp_path):
    async with running_hub(tmp_path) as hub:
        fleet = hub.hub._fleet
        assert fleet is not None
        assert fleet.gateways._resolving is None
