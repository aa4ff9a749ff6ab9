import pytest

from hub.contract.rpcs import RPCS
from hub.transports.http.rpc_routes import HTTP_RPCS
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import REGISTRY_PATH

RPC = "/api/rpc/"


def test_all_but_streams_and_sidecar_calls_are_there() -> None:
    left_out = {each.name for each in RPCS} - {each.name for each in HTTP_RPCS}
    assert left_out == {
        *("GetSnapshot", "WatchRegistry", "Connect", "Identify", "Ping"),
        *("ReportEndpoint", "ReportModelAction", "ReportOllama", "ReportResources"),
    }


async def test_an_alias_is_set_listed_and_removed(hub):
    alias = {"name": "chat", "targets": [{"model": "llama3.1:8b"}]}
    kept = await hub.http("POST", RPC + "SetModelAlias", body={"alias": alias})
    assert kept.status == 200, kept
    listed = (await hub.http("POST", RPC + "ListModelAliases")).json["aliases"]
    assert [(each["name"], each["targets"][0]["model"]) for each in listed] == [
        ("chat", "llama3.1:8b")
    ]
    assert (await hub.http("POST", RPC + "RemoveModelAlias", body={"name": "chat"})).status == 200
    assert (await hub.http("POST", RPC + "ListModelAliases", body={})).json["aliases"] == []


async def test_a_new_tokens_secret_is_in_the_reply_and_works(hub):
    made = await hub.http("POST", RPC + "CreateToken", body={"role": "reader"})
    assert made.json["token_info"]["role"] == "reader"
    assert (await hub.http("GET", REGISTRY_PATH, token=made.json["token"])).status == 200


async def test_a_wrong_field_is_named(hub):
    wrong = await hub.http("POST", RPC + "SelectEndpoint", body={"model": 7})
    assert wrong.status == 422
    assert wrong.json["errors"][0]["field"] == "model"


async def test_no_endpoint_to_select_is_an_error_with_its_reason(hub):
    none = await hub.http("POST", RPC + "SelectEndpoint", body={"model": "absent"})
    assert none.status in (404, 409)
    assert none.json["error"]


@pytest.mark.parametrize("body", [[], "x", 1])
async def test_a_body_that_is_no_object_is_refused(hub, body):
    assert (await hub.http("POST", RPC + "ListModels", body=body)).status == 422


async def test_a_reader_may_not_call_an_admins_rpc(hub):
    token = await hub.token(ROLE_READER)
    assert (await hub.http("POST", RPC + "ListTokens", token=token)).status == 403


async def test_a_list_that_grpc_answers_from_its_cache_is_json_here(hub):
    await hub.http("POST", REGISTRY_PATH, body={"host": "127.0.0.1", "name": "box"})
    listed = await hub.http("POST", RPC + "ListEndpoints", body={"page_size": 1})
    assert [each["name"] for each in listed.json["endpoints"]] == ["box"]
