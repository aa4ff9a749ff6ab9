"""The follower between a store's records, the registry and what is probed."""

from random import Random

import pytest

from hub.base.clock import ManualClock
from hub.base.settings import ProbeSettings
from hub.probes.engine import ProbeEngine
from hub.probes.target import ProbeTarget
from hub.registry.state import Registry
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.records import durable_endpoint, encode_secret, endpoint_key, secret_key
from hub.stores.store import Entry, StoreError
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    ADMIN_STATE_DRAINING,
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    STATUS_HEALTHY,
    Endpoint,
    Model,
)
from tests.support.fleet import registered, saw

ID = "gpu-1:11434"


class WatchLog(ProbeEngine):
    """The real engine, which also keeps what it was told to watch."""

    def __init__(self) -> None:
        super().__init__(ProbeSettings(), lambda *_: None, ManualClock(), Random(1))
        self.targets: dict[str, ProbeTarget] = {}
        self.spreads: list[bool] = []

    def watch(self, target: ProbeTarget, *, spread: bool = False) -> None:
        super().watch(target, spread=spread)
        self.targets[target.id] = target
        self.spreads.append(spread)

    def unwatch(self, id_: str) -> None:
        super().unwatch(id_)
        self.targets.pop(id_, None)


class House:
    def __init__(self) -> None:
        self.registry = Registry(first_revision=1_000)
        self.probes = WatchLog()
        self.follower = FleetFollower(self.registry, self.probes)
        self.follower.starting = False
        self.revision = 0

    def put(self, endpoint: Endpoint) -> None:
        self.revision += 1
        entry = Entry(endpoint_key(endpoint.id), durable_endpoint(endpoint), self.revision)
        self.follower.apply_put(entry)

    def put_secret(self, api_key: str, id_: str = ID) -> None:
        self.revision += 1
        self.follower.apply_put(Entry(secret_key(id_), encode_secret(api_key), self.revision))

    def watched(self) -> int:
        return self.probes.stats.watched


def test_what_is_registered_is_in_the_registry_and_probed() -> None:
    house = House()
    house.put(registered(ID, scheme="https", base_path="/v2", backend=BACKEND_VLLM))
    record = house.registry.get(ID)
    assert record is not None
    assert record.message.etag == "1"
    assert house.probes.targets[ID] == ProbeTarget(
        ID, "https", "gpu-1", 11434, "/v2", BACKEND_VLLM, None
    )
    assert house.watched() == 1


def test_an_ipv6_target_has_no_brackets() -> None:
    house = House()
    house.put(registered("[::1]:11434"))
    assert house.probes.targets["[::1]:11434"].host == "::1"


def test_what_is_removed_is_neither() -> None:
    house = House()
    house.put(registered(ID))
    house.follower.apply_delete(endpoint_key(ID))
    assert house.registry.get(ID) is None
    assert house.watched() == 0


@pytest.mark.parametrize("secret_first", [True, False])
def test_a_key_reaches_the_probes_in_whatever_order_it_comes(secret_first: bool) -> None:
    house = House()
    if secret_first:
        house.put_secret("sk-1")
        assert house.watched() == 0
        house.put(registered(ID))
    else:
        house.put(registered(ID))
        house.put_secret("sk-1")
    assert house.probes.targets[ID].api_key == "sk-1"
    assert "sk-1" not in repr(house.probes.targets[ID])


def test_a_key_that_is_taken_away_is_sent_no_more() -> None:
    house = House()
    house.put_secret("sk-1")
    house.put(registered(ID))
    house.follower.apply_delete(secret_key(ID))
    assert house.probes.targets[ID].api_key is None


def test_a_removed_endpoint_leaves_no_key_to_a_later_one() -> None:
    house = House()
    house.put_secret("sk-1")
    house.put(registered(ID))
    house.follower.apply_delete(endpoint_key(ID))
    house.follower.apply_delete(secret_key(ID))
    house.put(registered(ID))
    assert house.probes.targets[ID].api_key is None


def test_a_detected_backend_is_not_pinned() -> None:
    house = House()
    house.put(registered(ID))
    house.registry.observe(ID, saw(backend=BACKEND_OLLAMA))
    house.put(registered(ID, name="renamed"))
    assert house.probes.targets[ID].backend == BACKEND_UNSPECIFIED


def test_a_disabled_endpoint_is_known_and_not_probed() -> None:
    house = House()
    house.put(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    assert house.registry.get(ID) is not None
    assert house.watched() == 0
    house.put_secret("sk-1")
    assert house.watched() == 0, "its key does not bring it back"
    house.put(registered(ID))
    assert house.watched() == 1
    assert house.probes.targets[ID].api_key == "sk-1"
    house.put(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    assert house.watched() == 0


def test_a_draining_endpoint_is_probed() -> None:
    house = House()
    house.put(registered(ID, admin_state=ADMIN_STATE_DRAINING))
    assert house.watched() == 1


def test_first_probes_are_spread_at_the_start_alone() -> None:
    house = House()
    house.follower.starting = True
    house.put(registered("a:1"))
    house.follower.starting = False
    house.put(registered("b:1"))
    assert house.probes.spreads == [True, False]


def test_an_update_keeps_what_was_observed() -> None:
    house = House()
    house.put(registered(ID))
    house.registry.observe(ID, saw(models=(Model(name="m"),)))
    house.put(registered(ID, labels={"zone": "a"}))
    record = house.registry.get(ID)
    assert record is not None
    assert record.message.status == STATUS_HEALTHY
    assert [model.name for model in record.message.models] == ["m"]
    assert record.message.etag == "2"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (endpoint_key(ID), b"\xff"),
        (endpoint_key(ID), durable_endpoint(registered("other:1"))),
        (secret_key(ID), b"\xff"),
    ],
    ids=["not an endpoint", "another endpoint", "not text"],
)
def test_a_damaged_record_is_named_and_changes_nothing(key: str, value: bytes) -> None:
    house = House()
    with pytest.raises(StoreError, match=f"'{key}'"):
        house.follower.apply_put(Entry(key, value, 1))
    assert len(house.registry) == 0
    assert house.watched() == 0
