"""Selections that wait, as the service makes them; time is the event loop's, not the machine's."""

import asyncio
from collections.abc import Coroutine

import pytest

from hub.contract.errors import LimitReached, ModelUnknown, NoCapacity, NoHealthyEndpoint
from hub.registry.selection.waiting_line import MAX_GROUPS_PER_TOKEN, MAX_WAITING_PER_TOKEN
from hub.registry.state import Registry
from hub.service.access.caller import Caller
from hub.service.handlers import select_endpoint as handlers_module
from hub.service.handlers.select_endpoint import SelectionHandlers
from llmhub.v1 import registry_service_pb2 as pb
from tests.support.fleet_of import NOW, add, loaded
from tests.support.selecting import CALLER, caller


class LoopClock:
    """The event loop's time, as a clock of the hub."""

    def now_ms(self) -> int:
        return NOW + round((asyncio.get_running_loop().time() - self.began_s) * 1000)

    def __init__(self) -> None:
        self.began_s = asyncio.get_running_loop().time()


class Room:
    """Servers with one slot each, and callers that take leases on them."""

    def __init__(self, *ids: str) -> None:
        self.clock = LoopClock()
        self.registry = Registry(first_revision=1_000)
        self.handlers = SelectionHandlers(self.registry, self.clock)
        for id_ in ids:
            add(self.registry, id_, loaded())
        self.tasks: list[asyncio.Task[pb.SelectEndpointResponse]] = []

    def ask(
        self,
        *,
        by: Caller = CALLER,
        wait_s: float | None = 60,
        ttl_s: float = 600,
        **fields: object,
    ) -> bytes | Coroutine[object, object, bytes]:
        request = pb.SelectEndpointRequest(**{"model": "m", "max_in_flight": 1} | fields)
        if ttl_s:
            request.lease_ttl.FromMilliseconds(round(ttl_s * 1000))
        if wait_s is not None:
            request.wait.FromMilliseconds(round(wait_s * 1000))
        return self.handlers.select_endpoint(request, by, self.clock.now_ms())

    def take(self, **fields: object) -> pb.Selection:
        """A selection that is served at once."""
        raw = self.ask(**fields)
        assert isinstance(raw, bytes)
        return pb.SelectEndpointResponse.FromString(raw).selections[0]

    async def wait(self, **fields: object) -> asyncio.Task[pb.SelectEndpointResponse]:
        """A selection that waits."""

        async def waiting() -> pb.SelectEndpointResponse:
            answer = self.ask(**fields)
            assert not isinstance(answer, bytes), "an endpoint has room"
            return pb.SelectEndpointResponse.FromString(await answer)

        task = asyncio.create_task(waiting())
        self.tasks.append(task)
        await turns(2)
        return task

    def release(self, selection: pb.Selection, by: Caller = CALLER) -> None:
        request = pb.ReleaseSelectionRequest(lease_id=selection.lease_id)
        self.handlers.release_selection(request, by, self.clock.now_ms())

    def waits(self) -> dict[str, int]:
        return dict(self.handlers.counts.waits)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_released_lease_serves_the_first_that_waits() -> None:
    room = Room("a:1")
    held = room.take()
    first, second = await room.wait(), await room.wait()
    room.release(held)
    await turns()
    assert first.done()
    assert not second.done()
    (selection,) = (await first).selections
    assert selection.endpoint.id == "a:1"
    assert selection.HasField("waited")
    assert room.handlers.in_flight("a:1") == 1
    room.release(selection)
    assert (await second).selections[0].endpoint.id == "a:1"
    assert room.waits() == {"place": 2}
    assert room.handlers.counts.waiting == 0


async def test_a_selection_that_is_served_at_once_has_not_waited() -> None:
    assert not Room("a:1").take().HasField("waited")


async def test_a_freed_place_belongs_to_those_that_wait() -> None:
    room = Room("a:1")
    held = room.take()
    waiting = await room.wait()
    room.release(held)
    with pytest.raises(NoCapacity):
        room.ask(wait_s=None)
    await waiting


async def test_a_lease_that_expires_in_a_selection_frees_its_place_for_those_that_wait() -> None:
    room = Room("a:1")
    room.take(ttl_s=0.03)
    waiting = await room.wait()
    room.clock.began_s -= 0.05
    with pytest.raises(NoCapacity):
        room.ask(wait_s=None)
    await turns()
    assert waiting.done()


async def test_priorities_and_turns_decide_who_is_next() -> None:
    room = Room("a:1")
    held = room.take()
    order: list[str] = []

    async def queue(name: str, by: str, priority: int = 0) -> None:
        task = await room.wait(by=caller(by), priority=priority)
        task.add_done_callback(lambda _: order.append(name))

    await queue("many 0", "many")
    await queue("many 1", "many")
    await queue("few 0", "few")
    await queue("urgent", "many", priority=9)
    for _ in range(4):
        room.release(held)
        await turns()
        held = next(
            task.result().selections[0]
            for task in room.tasks
            if task.done() and task.result().selections[0].lease_id in room.handlers.leases._leases
        )
    assert order[0] == "urgent"
    assert set(order[1:3]) == {"many 0", "few 0"}
    assert order[3] == "many 1"


async def test_the_deadline_says_why_and_when_to_try_again() -> None:
    room = Room("a:1")
    room.take()
    waiting = await room.wait(wait_s=0.01)
    with pytest.raises(NoCapacity) as caught:
        await waiting
    assert caught.value.retry_after_ms == 1000
    assert "after waiting for 0.0 s" in caught.value.message
    assert caught.value.metadata["rejected_in_flight"] == "1"
    assert room.waits() == {"deadline": 1}
    assert len(room.handlers._waiting) == 0


async def test_the_hint_follows_the_rate_at_which_places_become_free() -> None:
    room = Room("a:1")
    held = room.take()
    for _ in range(3):
        waiting = await room.wait()
        room.clock.began_s -= 5
        room.release(held)
        held = (await waiting).selections[0]
    late = await room.wait(wait_s=0)
    with pytest.raises(NoCapacity) as caught:
        await late
    assert caught.value.retry_after_ms is not None
    assert 4_900 < caught.value.retry_after_ms < 10_100


@pytest.mark.parametrize("after_it_was_served", [False, True])
async def test_a_caller_that_leaves_frees_its_place(after_it_was_served) -> None:
    room = Room("a:1")
    held = room.take()
    leaving, staying = await room.wait(), await room.wait()
    if after_it_was_served:
        room.release(held)
        assert room.handlers.in_flight("a:1") == 1
        leaving.cancel()
    else:
        leaving.cancel()
        await turns()
        room.release(held)
    assert (await staying).selections[0].endpoint.id == "a:1"
    assert room.handlers.in_flight("a:1") == 1
    assert room.waits() == {"cancelled": 1, "place": 1}


async def test_an_endpoint_that_comes_back_serves_those_that_wait() -> None:
    room = Room()
    add(room.registry, "a:1", loaded(), error="down")
    waiting = await room.wait(wait_s=60)
    other = await room.wait(labels={"zone": "b"})
    add(room.registry, "a:1", loaded())
    assert (await waiting).selections[0].endpoint.id == "a:1"
    assert not other.done()
    add(room.registry, "b:1", loaded(), labels={"zone": "b"})
    assert (await other).selections[0].endpoint.id == "b:1"


async def test_selections_of_unhealthy_endpoints_keep_their_own_error() -> None:
    room = Room()
    add(room.registry, "a:1", loaded(), error="down")
    waiting = await room.wait(wait_s=0.01)
    with pytest.raises(NoHealthyEndpoint) as caught:
        await waiting
    assert caught.value.retry_after_ms is not None


async def test_an_unknown_model_does_not_wait() -> None:
    with pytest.raises(ModelUnknown):
        Room("a:1").ask(model="other")


async def test_an_expiring_lease_wakes_those_that_wait() -> None:
    room = Room("a:1")
    room.take(ttl_s=0.03)
    waiting = await room.wait()
    async with asyncio.timeout(5):
        assert (await waiting).selections[0].endpoint.id == "a:1"


async def test_a_release_wakes_one_and_not_the_herd(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room("a:1")
    held = room.take()
    for n in range(200):
        await room.wait(by=caller(f"t{n}"))
    attempts = []
    try_now = room.handlers.try_now
    monkeypatch.setattr(
        room.handlers, "try_now", lambda *about: attempts.append(1) or try_now(*about)
    )
    room.release(held)
    await turns()
    assert sum(task.done() for task in room.tasks) == 1
    assert len(attempts) == 2, "one is served, and one finds that there is no room left"
    for task in room.tasks:
        task.cancel()


async def test_many_different_needs_are_tried_in_slices_and_none_is_forgotten() -> None:
    room = Room("a:1")
    held = room.take()
    for n in range(150):
        await room.wait(by=caller(f"t{n}"), min_context_length=n + 1, require_known_facts=True)
    last = await room.wait(by=caller("last"), exclude_ids=["x:1"])
    room.release(held)
    async with asyncio.timeout(5):
        assert (await last).selections[0].endpoint.id == "a:1"
    for task in room.tasks:
        task.cancel()


async def test_the_line_is_bounded_per_token() -> None:
    room = Room("a:1")
    room.take()
    for _ in range(MAX_WAITING_PER_TOKEN):
        task = asyncio.create_task(room.ask())  # type: ignore[arg-type]
        room.tasks.append(task)  # type: ignore[arg-type]
    await turns()
    with pytest.raises(LimitReached) as caught:
        await room.ask()  # type: ignore[misc]
    assert caught.value.retry_after_ms is not None
    other = await room.wait(by=caller("other"))
    assert not other.done()
    assert room.waits() == {"full": 1}
    for each in room.tasks:
        each.cancel()


async def test_the_needs_of_one_token_are_bounded() -> None:
    room = Room("a:1")
    room.take()
    for n in range(MAX_GROUPS_PER_TOKEN):
        await room.wait(min_context_length=n)
    with pytest.raises(LimitReached):
        await room.ask(min_context_length=9_999)  # type: ignore[misc]
    for task in room.tasks:
        task.cancel()


async def test_too_many_leases_end_the_wait() -> None:
    room = Room("a:1")
    room.handlers.leases._max_per_owner = 1
    held = room.take()
    other = await room.wait(by=CALLER)
    add(room.registry, "b:1", loaded())
    with pytest.raises(LimitReached):
        await other
    assert room.waits() == {"refused": 1}
    room.release(held)


async def test_many_changes_are_judged_in_slices_before_those_that_wait_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers_module, "FEW", 5)
    room = Room("a:1")
    room.take()
    waiting = await room.wait()
    for n in range(50):
        add(room.registry, f"s{n}:1", loaded())
    async with asyncio.timeout(5):
        assert (await waiting).selections[0].endpoint.id.startswith("s")


async def test_nothing_is_tried_while_nothing_waits() -> None:
    room = Room("a:1")
    held = room.take()
    waiting = await room.wait()
    waiting.cancel()
    await turns()
    room.release(held)
    assert not room.handlers._waiting.is_stale
    assert room.handlers._waiting._timer is None
