import json

from hub.registry.rendering.model_routes import model_routes, refusal, server_name
from hub.registry.rendering.routable_fleet import RoutableServer
from tests.support.routable import (
    HOSTILE,
    LLAMA,
    QWEN,
    endpoint,
    fleet_of,
    mixed_fleet,
    model,
)


def by_path(server: RoutableServer) -> str:
    return server.base_path


def test_a_route_has_the_largest_group_of_equal_servers() -> None:
    found = {route.model: route for route in model_routes(mixed_fleet(), by_path).routes}
    assert found[QWEN].path == f"/models/{QWEN}/"
    assert [server.id for server in found[QWEN].servers] == ["[::1]:8003", "localhost:8004"]
    assert found[QWEN].base_path == ""
    assert [server.id for server in found[LLAMA].servers] == ["127.0.0.1:8001"]


def test_what_has_no_route_is_named() -> None:
    remarks = model_routes(mixed_fleet(), by_path).remarks()
    assert f"# Left out: {QWEN} at http://127.0.0.1:8002/gpu, unlike" in remarks
    assert "# Left out: alias 'big', which needs a rewritten body\n" in remarks
    assert f"# Left out: {HOSTILE!a}, not a name for a path\n" in remarks
    assert all(line.startswith("# ") for line in remarks.splitlines())


def test_names_that_look_alike_stay_apart() -> None:
    models = [model("a.b"), model("a_b"), model("a/b")]
    routes = model_routes(fleet_of(endpoint("127.0.0.1:1", *models)), by_path).routes
    assert len({route.name for route in routes}) == 3


def test_a_route_keeps_its_name_when_others_come() -> None:
    before, after = (
        model_routes(fleet_of(endpoint("127.0.0.1:1", *map(model, names))), by_path).routes
        for names in (["m"], ["a", "m", "z"])
    )
    assert before[0].name in {route.name for route in after}


def test_a_server_has_a_plain_name() -> None:
    names = {server.id: server_name(server) for server in mixed_fleet().servers}
    assert names["127.0.0.1:8001"] == "127_0_0_1_8001"
    assert names["[::1]:8003"] == "1_8003"


def test_a_refusal_has_openais_shape() -> None:
    assert json.loads(refusal("no"))["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "code": "model_not_found",
    }
