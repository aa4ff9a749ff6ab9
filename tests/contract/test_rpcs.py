from hub.contract.rpcs import FRAMES, RPCS, SERVICES, Tier, rpc
from llmhub.v1.frame_pb2 import HubFrame, IdentifyRequest, PingResponse, SidecarFrame
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR


def test_every_rpc_of_every_service_is_there_once() -> None:
    described = {f"/{s.full_name}/{m.name}" for s in SERVICES for m in s.methods}
    assert {each.path for each in RPCS} == described
    assert len({each.name for each in RPCS}) == len(RPCS), (
        "frames and rpc() look RPCs up by name only"
    )
    assert len({each.handler for each in RPCS}) == len(RPCS)


def test_the_rpcs_that_people_script_against() -> None:
    assert {each.name for each in RPCS if each.role == ROLE_READER} == {
        "GetEndpoint",
        "ListEndpoints",
        "ListModels",
        "ListModelAliases",
        "GetResources",
        "GetSnapshot",
        "WatchRegistry",
        "SelectEndpoint",
        "ReleaseSelection",
    }
    assert {each.name for each in RPCS if each.role == ROLE_ADMIN} == {
        "RegisterEndpoint",
        "UpdateEndpoint",
        "RemoveEndpoint",
        "CheckEndpoint",
        "LoadModel",
        "UnloadModel",
        "ListSidecars",
        "DisconnectSidecar",
        "CreateToken",
        "ListTokens",
        "RevokeToken",
        "SetModelAlias",
        "RemoveModelAlias",
        "ListAuditEvents",
        "GetServerInfo",
    }
    assert {each.name for each in RPCS if each.role == ROLE_SIDECAR} == {
        "Connect",
        "Identify",
        "ReportOllama",
        "ReportEndpoint",
        "ReportResources",
        "ReportModelAction",
        "Ping",
    }


def test_the_fields_of_an_rpc() -> None:
    found = rpc("GetServerInfo")
    assert found.path == "/llmhub.v1.AdminService/GetServerInfo"
    assert found.handler == "get_server_info"
    assert found.request.DESCRIPTOR.name == "GetServerInfoRequest"
    assert found.response.DESCRIPTOR.name == "GetServerInfoResponse"
    assert not found.client_streaming
    assert not found.server_streaming
    assert rpc("WatchRegistry").server_streaming
    connect = rpc("Connect")
    assert connect.client_streaming
    assert connect.server_streaming


def test_tiers_are_those_of_the_wire() -> None:
    assert rpc("Ping").tier is Tier.LIGHT
    for name in ("ReportResources", "GetSnapshot", "UpdateEndpoint"):
        assert rpc(name).tier is Tier.NORMAL
    for name in ("Identify", "RegisterEndpoint", "ReportOllama"):
        assert rpc(name).tier is Tier.HEAVY


def test_every_frame_is_the_request_of_one_sidecar_rpc() -> None:
    members = SidecarFrame.DESCRIPTOR.oneofs_by_name["frame"].fields
    assert set(FRAMES) == {field.name for field in members}
    for field in members:
        kind = FRAMES[field.name]
        assert kind.type == field.name
        assert kind.rpc.request.DESCRIPTOR is field.message_type
        assert kind.rpc.role == ROLE_SIDECAR
    assert FRAMES["identify"].rpc.request is IdentifyRequest


def test_the_replies_of_the_frames() -> None:
    assert {kind.type: kind.reply for kind in FRAMES.values()} == {
        "identify": "identified",
        "ollama_report": "ollama_report_ack",
        "endpoint_report": "endpoint_report_ack",
        "resource_report": None,
        "model_action_result": None,
        "ping": "pong",
    }
    for kind in FRAMES.values():
        if kind.reply is not None:
            member = HubFrame.DESCRIPTOR.fields_by_name[kind.reply]
            assert member.message_type is kind.rpc.response.DESCRIPTOR
    assert HubFrame(pong=PingResponse()).WhichOneof("frame") == FRAMES["ping"].reply
