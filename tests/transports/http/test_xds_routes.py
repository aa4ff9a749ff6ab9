import pytest

from hub.transports.envoy_resources import ASSIGNMENT_TYPE
from hub.transports.http.xds_routes import PATH
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from tests.support.hub import RunningHub, running_hub


@pytest.fixture
async def hub(tmp_path):
    async with running_hub(tmp_path) as running:
        await running.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=9))
        yield running


async def test_the_set_is_sent_once_for_each_version(hub: RunningHub):
    asked = {"type_url": ASSIGNMENT_TYPE, "resource_names": ["a", "b"]}
    first = (await hub.http("POST", PATH, body=asked)).json
    assert first["type_url"] == ASSIGNMENT_TYPE
    assert [each["cluster_name"] for each in first["resources"]] == ["a", "b"]
    assert [len(each["endpoints"][0]["lb_endpoints"]) for each in first["resources"]] == [1, 1]
    again = asked | {"version_info": first["version_info"]}
    headers = dict(hub.metadata(None))
    async with hub.session.post(
        f"http://{hub.http_address}{PATH}", json=again, headers=headers
    ) as response:
        assert (response.status, await response.read()) == (304, b"")
    await hub.call("RegisterEndpoint", RegisterEndpointRequest(host="127.0.0.1", port=10))
    camel = {"versionInfo": first["version_info"], "resourceNames": ["c"]}
    second = (await hub.http("POST", PATH, body=camel)).json
    assert second["version_info"] != first["version_info"]
    assert [each["cluster_name"] for each in second["resources"]] == ["c"]


@pytest.mark.parametrize("names", ["a", [1], ["x"] * 17, {"a": 1}])
async def test_names_are_a_short_list(hub: RunningHub, names):
    answer = await hub.http("POST", PATH, body={"resource_names": names})
    assert answer.status == 422
    assert answer.json["errors"][0]["field"] == "resource_names"
