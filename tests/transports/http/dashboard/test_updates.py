import asyncio
import json
from contextlib import contextmanager

import pytest

from hub.base.clock import ManualClock
from hub.registry.history.ring import Follower
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.service.presence import Presence
from hub.transports.http.dashboard import updates
from hub.transports.http.dashboard.updates import LiveUpdates, Update
from llmhub.v1.frame_pb2 import ReportResourcesRequest
from tests.support.fleet import NOW, registered
from tests.support.sidecars import sidecar

_LONG_S = 10.0


class Rig:
    def __init__(self, registry: Registry | None = None) -> None:
        # An empty registry is false, so it must not be asked with `or`.
        self.registry = Registry(first_revision=1_000) if registry is None else registry
        self.presence = Presence()
        self.clock = ManualClock(NOW)
        self.live = LiveUpdates(self.registry, self.presence, self.clock)
        self.live.start()

    @contextmanager
    def following(self):
        with self.live.following():
            yield self.follower()

    def follower(self) -> Follower[Update]:
        """A dashboard that has the state."""
        follower = self.live.follower()
        self.live.take(follower)
        return follower

    def state(self) -> dict:
        (event,) = events_of(self.live.take(self.live.follower()))
        assert event[0] == "state"
        return event[1]

    async def next(self, follower: Follower[Update]) -> list[tuple[str, dict]]:
        await self.live.wait(follower, _LONG_S)
        return events_of(self.live.take(follower))

    def probe(self, id_: str, error: str = "") -> None:
        now_ms = self.clock.now_ms()
        seen = Observation(
            checked_at_ms=now_ms, next_check_at_ms=now_ms + 1, error=error, latency_ms=1.5
        )
        self.registry.observe(id_, seen)

    def report(self, agent_id: str, percent: float) -> None:
        request = ReportResourcesRequest(cpu_percent=percent)
        self.registry.report_resources(agent_id, request, self.clock.now_ms())


def events_of(block: bytes) -> list[tuple[str, dict]]:
    events = []
    for event in block.decode().removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.split("\n"))
        events.append((fields["event"], json.loads(fields["data"])))
    return events


@pytest.fixture
async def rig():
    made = Rig()
    yield made
    made.live.stop()


async def test_simultaneous_changes_share_one_update(rig):
    with rig.following() as follower:
        for i in range(50):
            rig.registry.put_endpoint(registered("h:1", name=f"name {i}"))
            rig.report("a", i)
        rig.registry.put_endpoint(registered("gone:1"))
        rig.registry.remove_endpoint("gone:1")
        events = await rig.next(follower)
    ((kind, update),) = events
    assert kind == "update"
    assert [each["name"] for each in update["put"]] == ["name 49"]
    assert update["deleted"] == ["gone:1"]
    assert update["resources"]["a"]["cpu_percent"] == 49


async def test_all_dashboards_get_the_same_bytes(rig):
    with rig.following() as one, rig.following() as other:
        rig.registry.put_endpoint(registered("h:1"))
        await rig.live.wait(one, _LONG_S)
        first, second = rig.live.take(one), rig.live.take(other)
    assert first is second
    states = [rig.live.take(rig.live.follower()) for _ in range(2)]
    assert states[0] is states[1]


async def test_at_most_four_updates_are_sent_per_second(rig):
    loop = asyncio.get_running_loop()
    with rig.following() as follower:
        begin, updates = loop.time(), 0
        while loop.time() - begin < 1.1:
            rig.report("a", 1)
            await asyncio.sleep(0)
            updates += bool(rig.live.take(follower))
    assert 2 <= updates <= 5


async def test_nothing_is_encoded_without_followers(rig, monkeypatch):
    def refuse(_message):
        raise AssertionError("encoded without a follower")

    monkeypatch.setattr(updates, "to_json_bytes", refuse)
    follower = rig.follower()
    rig.registry.put_endpoint(registered("h:1"))
    rig.report("a", 1)
    await rig.live.wait(follower, _LONG_S)
    monkeypatch.undo()
    with rig.following():
        state = rig.state()
    assert [each["id"] for each in state["endpoints"]] == ["h:1"]
    assert state["resources"]["a"]["cpu_percent"] == 1


async def test_history_is_kept_without_followers(rig):
    follower = rig.follower()
    rig.registry.put_endpoint(registered("h:1"))
    await rig.live.wait(follower, _LONG_S)
    rig.clock.advance(5_000)
    follower = rig.follower()
    rig.probe("h:1")
    await rig.live.wait(follower, _LONG_S)
    with rig.following():
        state = rig.state()
    assert [(each[0], each[2]) for each in state["history"]] == [
        (NOW, "unknown"),
        (NOW + 5_000, "healthy"),
    ]
    assert state["since"] == {"h:1": NOW + 5_000}


async def test_an_endpoint_present_at_the_start_has_a_history():
    registry = Registry(first_revision=1_000)
    registry.put_endpoint(registered("h:1"))
    rig = Rig(registry)
    assert rig.state()["since"] == {"h:1": NOW}
    rig.live.stop()


async def test_a_slow_follower_gets_the_whole_state(monkeypatch):
    monkeypatch.setattr(updates, "_LOG_BYTES", 2_000)
    rig = Rig()
    with rig.following() as slow, rig.following() as quick:
        for i in range(4):
            rig.registry.put_endpoint(registered(f"h:{i + 1}", labels={"long": "x" * 250}))
            assert [kind for kind, _ in await rig.next(quick)] == ["update"]
        events = await rig.next(slow)
        assert [kind for kind, _ in events] == ["state"]
        assert len(events[0][1]["endpoints"]) == 4
        assert rig.live.take(quick) == rig.live.take(slow) == b""
    rig.live.stop()


async def test_only_an_event_id_of_this_process_resumes(rig):
    with rig.following() as follower:
        for i in range(2):
            rig.registry.put_endpoint(registered(f"h:{i + 1}"))
            await rig.next(follower)
    (kind, update), *more = events_of(rig.live.take(rig.live.follower("1000.1")))
    assert (kind, [each["id"] for each in update["put"]], more) == ("update", ["h:2"], [])
    assert rig.live.take(rig.live.follower("1000.2")) == b""
    for strange in ("", "999.1", "1000.0", "1000.3", "1000.", "1000.x", "1000." + "9" * 40):
        block = rig.live.take(rig.live.follower(strange))
        assert [kind for kind, _ in events_of(block)] == ["state"], strange


async def test_a_lost_history_causes_a_full_state():
    rig = Rig(Registry(first_revision=1_000, ring_capacity=4))
    with rig.following() as follower:
        for i in range(20):
            rig.registry.put_endpoint(registered(f"h:{i + 1}"))
        events = await rig.next(follower)
    assert [kind for kind, _ in events] == ["state"]
    assert len(events[0][1]["endpoints"]) == 20
    rig.live.stop()


async def test_a_flood_arrives_in_parts_without_loss(rig, monkeypatch):
    monkeypatch.setattr(updates, "_MAX_EVENTS", 8)
    monkeypatch.setattr(updates, "_PERIOD_S", 0.001)
    with rig.following() as follower:
        for i in range(30):
            rig.registry.put_endpoint(registered(f"h:{i + 1}"))
            rig.report(f"agent-{i}", i)
        endpoints, reports, most = set(), set(), 0
        while len(endpoints) < 30 or len(reports) < 30:
            for _, update in await rig.next(follower):
                put, reported = update.get("put", []), update.get("resources", {})
                most = max(most, len(put), len(reported))
                endpoints |= {each["id"] for each in put}
                reports |= set(reported)
    assert most == 8


async def test_sidecar_presence_is_sent(rig):
    with rig.following() as follower:
        node = sidecar("node-1")
        rig.presence.join(node)
        events = await rig.next(follower)
        assert events[0][1]["sidecars"] == {"node-1": NOW}
        rig.presence.leave(node)
        events = await rig.next(follower)
        assert events[0][1]["sidecars"] == {"node-1": None}


async def test_check_times_are_sent_separately(rig):
    rig.registry.put_endpoint(registered("h:1"))
    rig.probe("h:1")
    with rig.following() as follower:
        rig.clock.advance(30_000)
        rig.probe("h:1")
        events = await rig.next(follower)
    (check,) = events[-1][1]["checks"]
    assert check == ["h:1", NOW + 30_000, 0, 1.5, None, []]


async def test_expired_resources_are_reported(rig):
    rig.report("a", 1)
    with rig.following() as follower:
        rig.clock.advance(90_000)
        rig.registry.expire(rig.clock.now_ms())
        events = await rig.next(follower)
    assert events[-1][1]["resources"] == {"a": None}


async def test_a_wait_ends_on_timeout_wake_and_stop(rig):
    with rig.following() as follower:
        await rig.live.wait(follower, 0.001)
        waiting = asyncio.create_task(rig.live.wait(follower, _LONG_S))
        await asyncio.sleep(0)
        rig.live.wake()
        await waiting
        assert rig.live.take(follower) == b""
        rig.live.stop()
        await rig.live.wait(follower, _LONG_S)
