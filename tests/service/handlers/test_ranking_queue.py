"""Who waits for whom while rankings are caught up with. A slice here is a single step."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable

import pytest

from hub.base.tasks import Slices
from hub.contract.errors import LimitReached
from hub.registry.selection.kept_rankings import Kept, Rankings
from hub.registry.state import Registry
from hub.service.handlers import ranking_queue
from hub.service.handlers.followed_rankings import FollowedRankings
from hub.service.handlers.ranking_queue import CatchingUp
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from tests.support.fleet_of import add, loaded


class Waiting:
    """Rankings of a fleet of 40, of which 10 have "few", too; `done` says who came when."""

    def __init__(self) -> None:
        self.registry = Registry(first_revision=1000)
        for i in range(40):
            add(self.registry, f"h{i}:1", loaded("many"), *[loaded("few")] * (i < 10))
        facts = FollowedRankings(self.registry, max_leases=9, max_leases_per_token=9)
        self.rankings = Rankings(facts, facts._candidates)
        self.catching_up = in_single_steps(CatchingUp(max_wait_s=60))
        self.done: list[str] = []

    def current(self, model: str, tier: str = "") -> Callable[[], Kept]:
        request = SelectEndpointRequest(model=model, labels={"tier": tier} if tier else {})
        return lambda: self.rankings.kept(request, None, 0)

    async def __call__(self, name: str, token: str, model: str, tier: str = "") -> None:
        kept = await self.catching_up.wait(token, self.current(model, tier))
        assert kept.behind() == 0
        self.done.append(name)


def in_single_steps(catching_up: CatchingUp) -> CatchingUp:
    catching_up._near = Slices(slice_s=0)
    catching_up._far = Slices(slice_s=0)
    return catching_up


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    monkeypatch.setattr(ranking_queue, "FEW", 0)
    monkeypatch.setattr(ranking_queue, "FAR_BEHIND", 20)
    return Waiting()


async def test_a_ranking_far_behind_does_not_delay_current_ones(waiting: Waiting) -> None:
    await asyncio.gather(
        waiting("far", "t", "many"),
        waiting("far of another", "u", "many", "x"),
        waiting("near", "t", "few"),
        waiting("near of another", "v", "few", "x"),
    )
    assert waiting.done == ["near", "near of another", "far", "far of another"]


async def test_a_tokens_rankings_catch_up_one_at_a_time(waiting: Waiting) -> None:
    await asyncio.gather(
        *(waiting(f"t{i}", "t", "many", f"x{i}") for i in range(4)), waiting("u", "u", "many")
    )
    assert waiting.done == ["t0", "u", "t1", "t2", "t3"]


async def test_callers_of_one_ranking_share_its_work(waiting: Waiting) -> None:
    await asyncio.gather(
        *(waiting("herd", "t", "many") for _ in range(5)),
        *(waiting(f"u{i}", "u", "many", f"x{i}") for i in range(3)),
    )
    assert waiting.done == ["herd"] * 5 + ["u0", "u1", "u2"]


async def test_a_ranking_that_falls_far_behind_changes_queues(
    waiting: Waiting,
) -> None:
    await waiting("before", "t", "many")
    waiting.rankings.touch({f"h{i}:1" for i in range(15)})
    others = [
        asyncio.create_task(waiting("far", "u", "many", "x")),
        asyncio.create_task(waiting("was near", "t", "many")),
        asyncio.create_task(waiting("near", "v", "few", "x")),
    ]
    await asyncio.sleep(0)
    waiting.rankings.touch_all()
    await asyncio.gather(*others)
    assert waiting.done == ["before", "near", "far", "was near"]


async def test_a_cancelled_caller_leaves_its_work_to_the_others(waiting: Waiting) -> None:
    first = asyncio.create_task(waiting("first", "t", "many"))
    second = asyncio.create_task(waiting("second", "t", "many"))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    await second
    assert waiting.done == ["second"]
    assert not waiting.catching_up._at_work
    assert not waiting.catching_up._waiting


async def test_the_wait_is_bounded_and_judged_endpoints_are_kept(waiting: Waiting) -> None:
    brief = in_single_steps(CatchingUp(max_wait_s=0))
    current = waiting.current("many")
    with pytest.raises(LimitReached, match="try again") as raised:
        await brief.wait("t", current)
    assert raised.value.retry_after_ms == 1000
    left = [current().behind()]
    while left[-1]:
        with contextlib.suppress(LimitReached):
            await brief.wait("t", current)
        left.append(current().behind())
    assert 0 < left[0] < 40
    assert all(later < earlier for earlier, later in itertools.pairwise(left))


async def test_waiting_callers_per_token_are_limited(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking_queue, "MAX_WAITING", 2)
    results = await asyncio.gather(
        *(waiting("t", "t", "many") for _ in range(3)),
        waiting("u", "u", "many"),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None)] * 2 + [LimitReached, type(None)]
    assert results[2].retry_after_ms == 1000
    await waiting("t", "t", "many")
    assert sorted(waiting.done) == ["t", "t", "t", "u"]
