import asyncio
import json
from contextlib import contextmanager

import pytest

from hub.base.clock import ManualClock
from hub.registry.observation import Observation
from hub.registry.state import Registry
from hub.service.presence import Presence
from hub.transports.http.dashboard import updates
from hub.transports.http.dashboard.updates import LiveUpdates
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
            yield self.live.state()[0]

    async def next(self, number: int) -> tuple[int, list[tuple[str, dict]]]:
        await self.live.wait(number, _LONG_S)
        number, block = self.live.after(number)
        return number, events_of(block)

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


async def test_changes_at_once_make_one_update_with_the_newest_of_each(rig):
    with rig.following() as number:
        for i in range(50):
            rig.registry.put_endpoint(registered("h:1", name=f"name {i}"))
            rig.report("a", i)
        rig.registry.put_endpoint(registered("gone:1"))
        rig.registry.remove_endpoint("gone:1")
        _, events = await rig.next(number)
    ((kind, update),) = events
    assert kind == "update"
    assert [each["name"] for each in update["put"]] == ["name 49"]
    assert update["deleted"] == ["gone:1"]
    assert update["resources"]["a"]["cpu_percent"] == 49


async def test_all_dashboards_get_the_same_bytes(rig):
    with rig.following() as number, rig.live.following():
        rig.registry.put_endpoint(registered("h:1"))
        await rig.live.wait(number, _LONG_S)
        first, second = rig.live.after(number)[1], rig.live.after(number)[1]
    assert first is second
    assert rig.live.state()[1] is rig.live.state()[1]


async def test_no_more_than_four_updates_a_second(rig):
    loop = asyncio.get_running_loop()
    with rig.following() as first:
        number, begin, updates = first, loop.time(), 0
        while loop.time() - begin < 1.1:
            rig.report("a", 1)
            await asyncio.sleep(0)
            if rig.live.after(number)[1]:
                number, _ = rig.live.after(number)
                updates += 1
    assert 2 <= updates <= 5


async def test_nothing_is_encoded_while_nobody_looks(rig, monkeypatch):
    def refuse(_message):
        raise AssertionError("encoded for nobody")

    monkeypatch.setattr(updates, "to_json_bytes", refuse)
    number = rig.live.state()[0]
    rig.registry.put_endpoint(registered("h:1"))
    rig.report("a", 1)
    await rig.live.wait(number, _LONG_S)
    monkeypatch.undo()
    with rig.following():
        _, state = events_of(rig.live.state()[1])[0]
    assert [each["id"] for each in state["endpoints"]] == ["h:1"]
    assert state["resources"]["a"]["cpu_percent"] == 1


async def test_the_past_is_remembered_while_nobody_looks(rig):
    number = rig.live.state()[0]
    rig.registry.put_endpoint(registered("h:1"))
    await rig.live.wait(number, _LONG_S)
    rig.clock.advance(5_000)
    number = rig.live.state()[0]
    rig.probe("h:1")
    await rig.live.wait(number, _LONG_S)
    with rig.following():
        _, state = events_of(rig.live.state()[1])[0]
    assert [(each[0], each[2]) for each in state["history"]] == [
        (NOW, "unknown"),
        (NOW + 5_000, "healthy"),
    ]
    assert state["since"] == {"h:1": NOW + 5_000}


async def test_an_endpoint_that_was_there_at_the_start_has_a_past():
    registry = Registry(first_revision=1_000)
    registry.put_endpoint(registered("h:1"))
    rig = Rig(registry)
    assert events_of(rig.live.state()[1])[0][1]["since"] == {"h:1": NOW}
    rig.live.stop()


async def test_one_that_fell_behind_gets_the_state(rig, monkeypatch):
    monkeypatch.setattr(updates, "_LOG_BYTES", 2_000)
    rig.live._log = rig.live._new_log()
    with rig.following() as first:
        number = first
        for i in range(4):
            rig.registry.put_endpoint(registered(f"h:{i + 1}", labels={"long": "x" * 250}))
            number, _ = await rig.next(number)
        _, events = await rig.next(first)
        assert [kind for kind, _ in events] == ["state"]
        assert len(events[0][1]["endpoints"]) == 4
        assert rig.live.after(number) == (number, b"")


async def test_a_history_that_the_registry_no_longer_has_leads_to_the_state():
    rig = Rig(Registry(first_revision=1_000, ring_capacity=4))
    with rig.following() as number:
        for i in range(20):
            rig.registry.put_endpoint(registered(f"h:{i + 1}"))
        _, events = await rig.next(number)
    assert [kind for kind, _ in events] == ["state"]
    assert len(events[0][1]["endpoints"]) == 20
    rig.live.stop()


async def test_a_flood_is_told_in_parts_and_nothing_is_lost(rig, monkeypatch):
    monkeypatch.setattr(updates, "_MAX_EVENTS", 8)
    monkeypatch.setattr(updates, "_PERIOD_S", 0.001)
    with rig.following() as first:
        number = first
        for i in range(30):
            rig.registry.put_endpoint(registered(f"h:{i + 1}"))
            rig.report(f"agent-{i}", i)
        endpoints, reports, most = set(), set(), 0
        while len(endpoints) < 30 or len(reports) < 30:
            number, events = await rig.next(number)
            for _, update in events:
                put, told = update.get("put", []), update.get("resources", {})
                most = max(most, len(put), len(told))
                endpoints |= {each["id"] for each in put}
                reports |= set(told)
    assert most == 8


async def test_presence(rig):
    with rig.following() as first:
        node = sidecar("node-1")
        rig.presence.join(node)
        number, events = await rig.next(first)
        assert events[0][1]["sidecars"] == {"node-1": NOW}
        rig.presence.leave(node)
        _, events = await rig.next(number)
        assert events[0][1]["sidecars"] == {"node-1": None}


async def test_the_bookkeeping_of_checks(rig):
    rig.registry.put_endpoint(registered("h:1"))
    rig.probe("h:1")
    with rig.following() as number:
        rig.clock.advance(30_000)
        rig.probe("h:1")
        _, events = await rig.next(number)
    (check,) = events[-1][1]["checks"]
    assert check == ["h:1", NOW + 30_000, 0, 1.5, None]


async def test_resources_that_expire_are_told(rig):
    rig.report("a", 1)
    with rig.following() as number:
        rig.clock.advance(90_000)
        rig.registry.expire(rig.clock.now_ms())
        _, events = await rig.next(number)
    assert events[-1][1]["resources"] == {"a": None}


async def test_waiting_ends_by_a_timeout_by_a_wake_and_by_the_stop(rig):
    with rig.following() as number:
        await rig.live.wait(number, 0.001)
        waiting = asyncio.create_task(rig.live.wait(number, _LONG_S))
        await asyncio.sleep(0)
        rig.live.wake()
        await waiting
        assert rig.live.after(number) == (number, b"")
        rig.live.stop()
        await rig.live.wait(number, _LONG_S)
