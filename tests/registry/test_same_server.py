"""Endpoints of one server are recognised by place and answers, and counted once."""

from collections.abc import Sequence

import pytest

from hub.registry.observation import Observation
from hub.registry.same_server import MAX_ADDRESSES, Place, SameServers
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DRAINING,
    BACKEND_OLLAMA,
    MODEL_STATE_LOADED,
    Endpoint,
    Model,
)

NOW = 1_000_000
QWEN = Model(name="qwen3", digest="d1", size_bytes=5, state=MODEL_STATE_LOADED, vram_bytes=7)


class Fleet:
    """A registry to fill with endpoints and observations."""

    def __init__(self) -> None:
        self.registry = Registry(first_revision=1)

    def register(self, id_: str, *, at: int = 1, **fields: object) -> None:
        host, _, port = id_.rpartition(":")
        endpoint = Endpoint(id=id_, host=host.strip("[]"), port=int(port), scheme="http")
        endpoint.MergeFrom(Endpoint(**fields))
        endpoint.registered_at.FromSeconds(at)
        self.registry.put_endpoint(endpoint)

    def saw(
        self,
        id_: str,
        address: str = "10.0.0.9",
        models: Sequence[Model] = (QWEN,),
        version: str = "0.17.4",
        error: str = "",
    ) -> None:
        self.registry.observe(
            id_,
            Observation(
                checked_at_ms=NOW,
                next_check_at_ms=NOW + 30_000,
                error=error,
                backend=BACKEND_OLLAMA,
                version="" if error else version,
                models=None if error else tuple(models),
                address="" if error else address,
            ),
        )

    def get(self, id_: str) -> Endpoint:
        record = self.registry.get(id_)
        assert record is not None
        return record.message

    def same(self, id_: str) -> str:
        return self.get(id_).same_server_as

    def pair(self) -> None:
        """Registers one server at two addresses."""
        self.register("10.0.0.9:8000", at=2)
        self.register("gpu-1:8000", at=1)
        self.saw("10.0.0.9:8000")
        self.saw("gpu-1:8000")


def test_the_endpoint_that_was_registered_first_is_the_primary_one() -> None:
    fleet = Fleet()
    fleet.pair()
    assert fleet.same("gpu-1:8000") == ""
    assert fleet.same("10.0.0.9:8000") == "gpu-1:8000"
    assert fleet.registry.addresses_of_server("gpu-1:8000") == ["10.0.0.9:8000", "gpu-1:8000"]


def test_watchers_see_the_mark() -> None:
    fleet = Fleet()
    fleet.pair()
    before = fleet.registry.event_revision
    fleet.saw("10.0.0.9:8000", address="10.0.0.10")
    assert fleet.same("10.0.0.9:8000") == ""
    assert fleet.registry.event_revision > before


@pytest.mark.parametrize(
    "other",
    [
        {"address": "10.0.0.10"},
        {"version": "0.17.5"},
        {"models": [Model(name="qwen3", digest="d2", size_bytes=5)]},
        {"models": [QWEN, Model(name="z")]},
        {"models": []},
    ],
)
def test_a_place_or_answers_alone_do_not_prove_the_same_server(other: dict[str, object]) -> None:
    fleet = Fleet()
    fleet.pair()
    fleet.saw("gpu-1:8000", **other)
    assert fleet.same("10.0.0.9:8000") == fleet.same("gpu-1:8000") == ""


def test_two_new_servers_without_models_are_not_the_same_server() -> None:
    fleet = Fleet()
    fleet.register("10.0.0.9:8000")
    fleet.register("gpu-1:8000")
    fleet.saw("10.0.0.9:8000", models=())
    fleet.saw("gpu-1:8000", models=())
    assert fleet.same("10.0.0.9:8000") == fleet.same("gpu-1:8000") == ""


def test_the_state_of_a_model_makes_no_difference() -> None:
    fleet = Fleet()
    fleet.pair()
    fleet.saw("gpu-1:8000", models=[Model(name="qwen3", digest="d1", size_bytes=5)])
    assert fleet.same("10.0.0.9:8000") == "gpu-1:8000"


@pytest.mark.parametrize(
    ("port", "fields"), [(80, {}), (443, {}), (8443, {"scheme": "https"}), (8, {"base_path": "/a"})]
)
def test_names_at_a_proxy_are_different_servers(port: int, fields: dict[str, str]) -> None:
    fleet = Fleet()
    ids = [f"{host}:{port}" for host in ("a.lan", "b.lan", "10.0.0.9")]
    for id_ in ids:
        fleet.register(id_, **fields)
        fleet.saw(id_)
    assert [fleet.same(id_) for id_ in ids] == ["", "", ""]


def test_a_proxy_cannot_route_by_name_to_an_ip_address() -> None:
    fleet = Fleet()
    for id_ in ("127.0.0.1:80", "localhost:80", "10.0.0.9:80"):
        fleet.register(id_)
        fleet.saw(id_, address="127.0.0.1")
    assert fleet.same("127.0.0.1:80") == fleet.same("localhost:80") == "10.0.0.9:80"


def test_the_same_server_under_two_base_paths_is_two_endpoints() -> None:
    fleet = Fleet()
    fleet.register("10.0.0.9:8000", base_path="/a")
    fleet.register("gpu-1:8000", base_path="/b")
    fleet.saw("10.0.0.9:8000")
    fleet.saw("gpu-1:8000")
    assert fleet.same("10.0.0.9:8000") == fleet.same("gpu-1:8000") == ""


def test_a_healthy_and_enabled_endpoint_is_the_primary_one() -> None:
    fleet = Fleet()
    fleet.pair()
    for _ in range(2):
        fleet.saw("gpu-1:8000", error="host name does not resolve")
    assert fleet.same("gpu-1:8000") == "10.0.0.9:8000"
    assert fleet.same("10.0.0.9:8000") == ""
    fleet.saw("gpu-1:8000")
    assert fleet.same("10.0.0.9:8000") == "gpu-1:8000"
    fleet.register("gpu-1:8000", at=1, admin_state=ADMIN_STATE_DRAINING)
    assert fleet.same("gpu-1:8000") == "10.0.0.9:8000"


def test_a_removed_or_changed_endpoint_is_no_longer_the_same_server() -> None:
    fleet = Fleet()
    fleet.pair()
    fleet.registry.remove_endpoint("gpu-1:8000")
    assert fleet.same("10.0.0.9:8000") == ""
    fleet.pair()
    fleet.register("gpu-1:8000", at=1, base_path="/other")
    assert fleet.same("10.0.0.9:8000") == fleet.same("gpu-1:8000") == ""
    assert fleet.registry.addresses_of_server("10.0.0.9:8000") == ["10.0.0.9:8000"]


def test_a_new_registration_of_the_same_server_keeps_the_mark() -> None:
    fleet = Fleet()
    fleet.pair()
    fleet.register("10.0.0.9:8000", at=2, name="other")
    assert fleet.same("10.0.0.9:8000") == "gpu-1:8000"


def test_models_and_memory_of_one_server_count_once() -> None:
    fleet = Fleet()
    fleet.register("10.0.0.9:8000", at=2, agent_id="node-1")
    fleet.register("gpu-1:8000", at=1, agent_id="node-1")
    for id_ in ("10.0.0.9:8000", "gpu-1:8000"):
        fleet.saw(id_)
    registry = fleet.registry
    assert registry.fleet_models() == {"qwen3": 1}
    summary = registry.model_index.summary("qwen3")
    assert (summary.endpoint_count, summary.healthy_count, summary.loaded_count) == (1, 1, 1)
    assert list(summary.endpoint_ids) == ["10.0.0.9:8000", "gpu-1:8000"]
    assert registry.vram("node-1").message.claimed_bytes == 7
    fleet.saw("gpu-1:8000", address="10.0.0.10")
    assert registry.fleet_models() == {"qwen3": 2}
    assert registry.model_index.summary("qwen3").loaded_count == 2
    assert registry.vram("node-1").message.claimed_bytes == 14
    registry.remove_endpoint("gpu-1:8000")
    assert registry.fleet_models() == {"qwen3": 1}
    assert registry.vram("node-1").message.claimed_bytes == 7


def test_the_number_of_compared_addresses_is_bounded() -> None:
    servers = SameServers()
    place = Place("10.0.0.9", 8000)
    for n in range(MAX_ADDRESSES + 5):
        assert list(servers.move(f"name-{n}:8000", place)) == [f"name-{n}:8000"]
    assert len(servers.neighbours("name-0:8000")) == MAX_ADDRESSES
    assert servers.neighbours(f"name-{MAX_ADDRESSES}:8000") == (f"name-{MAX_ADDRESSES}:8000",)
    for n in range(MAX_ADDRESSES + 5):
        servers.move(f"name-{n}:8000", None)
    assert servers.neighbours("name-0:8000") == ("name-0:8000",)
