from hub.registry.host_index import HostIndex
from llmhub.v1.endpoint_pb2 import MODEL_STATE_LOADED, STATUS_HEALTHY, Endpoint, Model


def endpoint(id_: str, agent_id: str, vram_bytes: int = 7) -> Endpoint:
    model = Model(name="m", state=MODEL_STATE_LOADED, vram_bytes=vram_bytes)
    return Endpoint(id=id_, agent_id=agent_id, status=STATUS_HEALTHY, models=[model])


def test_an_endpoint_is_on_its_agents_host_until_it_moves_or_is_removed() -> None:
    hosts = HostIndex(tombstones=8, floor=1)
    one, moved = endpoint("a:1", "node-1"), endpoint("a:1", "node-2")
    hosts.change(None, one, 2)
    hosts.change(None, endpoint("b:1", "node-1"), 3)
    assert set(hosts.ids("node-1")) == {"a:1", "b:1"}
    hosts.change(one, moved, 4)
    assert (set(hosts.ids("node-1")), set(hosts.ids("node-2"))) == ({"b:1"}, {"a:1"})
    hosts.change(moved, None, 5)
    assert not hosts.ids("node-2")
    assert list(hosts.claimants()) == ["node-1"]


def test_a_claim_is_kept_at_the_revision_of_its_change() -> None:
    hosts = HostIndex(tombstones=8, floor=1)
    one = endpoint("a:1", "node-1")
    hosts.change(None, one, 2)
    claim = hosts.claims.get("node-1")
    assert claim is not None
    assert claim.claimed_bytes == 7
    assert hosts.account("node-1", None).message.claimed_bytes == 7
    hosts.change(one, None, 3)
    assert hosts.claims.get("node-1") is None
    assert hosts.account("node-1", None).message.claimed_bytes == 0
