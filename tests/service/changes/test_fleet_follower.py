"""The follower between a store's records, the registry and what is probed."""

from random import Random

import pytest

from hub.base.clock import ManualClock
from hub.base.settings import ProbeSettings
from hub.probes.asker import ProbeTarget
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.changes.fleet_follower import FleetFollower
from hub.service.records import (
    durable_fields,
    encode_endpoint,
    encode_secret,
    endpoint_key,
    secret_key,
)
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
    """The real engine, which also records the targets that it watches."""

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


class Rig:
    def __init__(self) -> None:
        self.registry = Registry(first_revision=1_000)
        self.probes = WatchLog()
        self.follower = FleetFollower(self.registry, self.probes)
        self.follower.starting = False
        self.revision = 0

    def put(self, endpoint: Endpoint) -> None:
        self.revision += 1
        entry = Entry(
            endpoint_key(endpoint.id), encode_endpoint(durable_fields(endpoint)), self.revision
        )
        self.follower.apply_put(entry)

    def put_secret(self, api_key: str, id_: str = ID) -> None:
        self.revision += 1
        self.follower.apply_put(Entry(secret_key(id_), encode_secret(api_key), self.revision))

    def watched(self) -> int:
        return self.probes.stats.watched


def test_a_registered_endpoint_is_in_the_registry_and_probed() -> None:
    rig = Rig()
    rig.put(registered(ID, scheme="https", base_path="/v2", backend=BACKEND_VLLM))
    record = rig.registry.get(ID)
    assert record is not None
    assert record.message.etag == "1"
    assert rig.probes.targets[ID] == ProbeTarget(
        ID, "https", "gpu-1", 11434, "/v2", BACKEND_VLLM, None
    )
    assert rig.watched() == 1


def test_an_ipv6_target_has_no_brackets() -> None:
    rig = Rig()
    rig.put(registered("[::1]:11434"))
    assert rig.probes.targets["[::1]:11434"].host == "::1"


def test_a_removed_endpoint_is_neither_listed_nor_probed() -> None:
    rig = Rig()
    rig.put(registered(ID))
    rig.follower.apply_delete(endpoint_key(ID))
    assert rig.registry.get(ID) is None
    assert rig.watched() == 0


@pytest.mark.parametrize("secret_first", [True, False])
def test_an_api_key_reaches_the_probes_in_any_order(secret_first: bool) -> None:
    rig = Rig()
    if secret_first:
        rig.put_secret("sk-1")
        assert rig.watched() == 0
        rig.put(registered(ID))
    else:
        rig.put(registered(ID))
        rig.put_secret("sk-1")
    assert rig.probes.targets[ID].api_key == "sk-1"
    assert "sk-1" not in repr(rig.probes.targets[ID])


def test_a_removed_api_key_is_no_longer_sent() -> None:
    rig = Rig()
    rig.put_secret("sk-1")
    rig.put(registered(ID))
    rig.follower.apply_delete(secret_key(ID))
    assert rig.probes.targets[ID].api_key is None


def test_a_removed_endpoints_key_is_not_used_for_a_later_one() -> None:
    rig = Rig()
    rig.put_secret("sk-1")
    rig.put(registered(ID))
    rig.follower.apply_delete(endpoint_key(ID))
    rig.follower.apply_delete(secret_key(ID))
    rig.put(registered(ID))
    assert rig.probes.targets[ID].api_key is None


def test_a_detected_backend_is_not_pinned() -> None:
    rig = Rig()
    rig.put(registered(ID))
    rig.registry.observe(ID, saw(backend=BACKEND_OLLAMA))
    rig.put(registered(ID, name="renamed"))
    assert rig.probes.targets[ID].backend == BACKEND_UNSPECIFIED


def test_a_disabled_endpoint_is_listed_but_not_probed() -> None:
    rig = Rig()
    rig.put(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    assert rig.registry.get(ID) is not None
    assert rig.watched() == 0
    rig.put_secret("sk-1")
    assert rig.watched() == 0, "its key does not bring it back"
    rig.put(registered(ID))
    assert rig.watched() == 1
    assert rig.probes.targets[ID].api_key == "sk-1"
    rig.put(registered(ID, admin_state=ADMIN_STATE_DISABLED))
    assert rig.watched() == 0


def test_a_draining_endpoint_is_probed() -> None:
    rig = Rig()
    rig.put(registered(ID, admin_state=ADMIN_STATE_DRAINING))
    assert rig.watched() == 1


def test_probes_are_spread_only_at_the_start() -> None:
    rig = Rig()
    rig.follower.starting = True
    rig.put(registered("a:1"))
    rig.follower.starting = False
    rig.put(registered("b:1"))
    assert rig.probes.spreads == [True, False]


def test_an_update_keeps_what_was_observed() -> None:
    rig = Rig()
    rig.put(registered(ID))
    rig.registry.observe(ID, saw(models=(Model(name="m"),)))
    rig.put(registered(ID, labels={"zone": "a"}))
    record = rig.registry.get(ID)
    assert record is not None
    assert record.message.status == STATUS_HEALTHY
    assert [model.name for model in record.message.models] == ["m"]
    assert record.message.etag == "2"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (endpoint_key(ID), b"\xff"),
        (endpoint_key(ID), encode_endpoint(durable_fields(registered("other:1")))),
        (secret_key(ID), b"\xff"),
    ],
    ids=["not an endpoint", "another endpoint", "not text"],
)
def test_a_damaged_record_is_named_and_changes_nothing(key: str, value: bytes) -> None:
    rig = Rig()
    with pytest.raises(StoreError, match=f"'{key}'"):
        rig.follower.apply_put(Entry(key, value, 1))
    assert len(rig.registry) == 0
    assert rig.watched() == 0
