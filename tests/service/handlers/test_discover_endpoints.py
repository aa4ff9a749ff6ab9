import asyncio
from collections.abc import Sequence

import pytest

from hub.contract.errors import ShuttingDown
from hub.registry.state import Registry
from hub.service.access.caller import Caller, Principal
from hub.service.change_feed import ChangeFeed
from hub.service.endpoint_addresses import EndpointAddresses
from hub.service.handlers.discover_endpoints import EndpointSets, SetMember
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, ADMIN_STATE_DRAINING, Endpoint
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.fleet_of import NOW, add, loaded

CALLER = Caller(Principal(ROLE_READER, "", "t"), "10.0.0.9", "grpc")
NAMES: dict[str, str] = {}


async def resolve(name: str) -> Sequence[str]:
    if name not in NAMES:
        raise OSError
    return [NAMES[name]]


class Fleet:
    def __init__(self) -> None:
        NAMES.clear()
        self.registry = Registry(first_revision=1_000)
        self.feed = ChangeFeed(self.registry)
        self.addresses = EndpointAddresses(resolve)
        self.sets = EndpointSets(self.registry, self.feed, self.addresses)

    def put(self, id_: str, **fields: object) -> None:
        host, _, port = id_.rpartition(":")
        add(self.registry, id_, loaded("m"), host=host.strip("[]"), port=int(port), **fields)

    async def found(self) -> dict[str, str]:
        members = (await self.sets.discover_endpoints(None, CALLER, NOW)).members
        return {f"{each.address}:{each.port}": each.health for each in members}


async def test_health_and_admin_states_become_envoys_words():
    fleet = Fleet()
    fleet.put("10.0.0.1:1")
    fleet.put("10.0.0.2:1", error="down")
    fleet.put("10.0.0.3:1", admin_state=ADMIN_STATE_DRAINING)
    fleet.put("10.0.0.4:1", admin_state=ADMIN_STATE_DISABLED)
    fleet.registry.put_endpoint(Endpoint(id="10.0.0.5:1", host="10.0.0.5", port=1))
    assert await fleet.found() == {
        "10.0.0.1:1": "HEALTHY",
        "10.0.0.2:1": "UNHEALTHY",
        "10.0.0.3:1": "DRAINING",
        "10.0.0.5:1": "UNKNOWN",
    }


async def test_the_version_changes_with_the_members_alone():
    fleet = Fleet()
    fleet.put("10.0.0.1:1")
    first = await fleet.sets.discover_endpoints(None, CALLER, NOW)
    add(fleet.registry, "10.0.0.1:1", loaded("other"), host="10.0.0.1", port=1)
    assert (await fleet.sets.discover_endpoints(None, CALLER, NOW)).version == first.version
    fleet.put("10.0.0.1:1", error="down")
    assert (await fleet.sets.discover_endpoints(None, CALLER, NOW)).version != first.version
    fleet.registry.remove_endpoint("10.0.0.1:1")
    assert await fleet.found() == {}


async def test_a_name_joins_when_it_is_resolved_and_keeps_its_spelling():
    fleet = Fleet()
    fleet.put("gpu.lan:1", scheme="https")
    assert await fleet.found() == {}
    NAMES["gpu.lan"] = "10.0.0.9"
    await fleet.addresses._look_up(["gpu.lan"])
    (member,) = (await fleet.sets.discover_endpoints(None, CALLER, NOW)).members
    assert member == SetMember("10.0.0.9", 1, "gpu.lan", "HEALTHY", uses_tls=True)
    NAMES["gpu.lan"] = "10.0.0.10"
    await fleet.addresses._look_up(["gpu.lan"])
    assert await fleet.found() == {"10.0.0.10:1": "HEALTHY"}


async def test_a_follower_that_fell_behind_starts_again():
    fleet = Fleet()
    fleet.registry.ring._capacity = 2
    for i in range(6):
        fleet.put(f"10.0.0.{i}:1")
    assert len(await fleet.found()) == 6


async def test_a_watch_gets_the_set_and_each_change_of_it():
    fleet = Fleet()
    fleet.put("10.0.0.1:1")
    watch = fleet.sets.watch_endpoint_set(None, CALLER, NOW)
    async with asyncio.timeout(30):
        assert len((await anext(watch)).members) == 1
        following = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        add(fleet.registry, "10.0.0.1:1", loaded("n"), host="10.0.0.1", port=1)
        fleet.put("10.0.0.2:1")
        assert len((await following).members) == 2
        following = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        fleet.feed.close()
        with pytest.raises(ShuttingDown):
            await following
