import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from hub.base.tasks import Slices, log_unexpected_end


async def fail() -> None:
    raise RuntimeError("unforeseen")


async def test_a_failed_task_is_logged_and_reported() -> None:
    ended = asyncio.Event()
    with capture_logs() as logged:
        log_unexpected_end(asyncio.create_task(fail(), name="expiry"), ended.set)
        await asyncio.wait_for(ended.wait(), 10)
    (line,) = logged
    assert (line["log_level"], line["task"]) == ("error", "expiry")
    assert isinstance(line["exc_info"], RuntimeError)


async def test_a_cancelled_task_is_not_logged() -> None:
    ended = asyncio.Event()
    task = asyncio.create_task(asyncio.Event().wait())
    with capture_logs() as logged:
        log_unexpected_end(task, ended.set)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert logged == []
    assert not ended.is_set()


class Work:
    """A number of steps, each of which records how many turns others had before it."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.turns = 0
        self.at: list[int] = []
        self.begun = 0

    def __call__(self) -> Iterator[None]:
        self.begun += 1
        return self._steps()

    def _steps(self) -> Iterator[None]:
        while self.left:
            self.left -= 1
            self.at.append(self.turns)
            yield

    async def others(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


@pytest.fixture
async def work() -> Work:
    return Work(5)


async def beside(slices: Slices, work: Work) -> None:
    others = asyncio.create_task(work.others())
    await slices.run(work)
    others.cancel()


async def test_others_have_a_turn_between_two_slices(work: Work) -> None:
    await beside(Slices(slice_s=0), work)
    assert work.at == [0, 1, 2, 3, 4]
    assert work.begun == 6


async def test_small_work_is_done_in_one_slice(work: Work) -> None:
    await beside(Slices(slice_s=60), work)
    assert work.at == [0] * 5
    assert work.begun == 1


async def test_two_jobs_share_one_slice_per_turn() -> None:
    slices, works = Slices(slice_s=0), [Work(3), Work(3)]
    clock = works[0]
    works[1]._steps = lambda: steps(clock, works[1])
    others = asyncio.create_task(clock.others())
    await asyncio.gather(*(slices.run(work) for work in works))
    others.cancel()
    turns = works[0].at + works[1].at
    assert len(turns) == len(set(turns)) == 6


def steps(clock: Work, work: Work) -> Iterator[None]:
    while work.left:
        work.left -= 1
        work.at.append(clock.turns)
        yield


async def test_owners_take_turns() -> None:
    slices, done = Slices(slice_s=0), []

    async def one(name: str, owner: str) -> None:
        await slices.run(Work(3), owner)
        done.append(name)

    names = ("a1", "a2", "a3", "b1", "b2")
    await asyncio.gather(*(one(name, name[0]) for name in names))
    assert done == ["a1", "b1", "a2", "b2", "a3"]
    assert not slices._owners


async def test_failed_or_cancelled_work_does_not_block_later_work(work: Work) -> None:
    slices = Slices(slice_s=0)

    def failing() -> Iterator[None]:
        yield
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await Slices(slice_s=60).run(failing)
    task = asyncio.create_task(slices.run(Work(1_000_000)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await slices.run(work)
    assert work.left == 0


async def test_one_block_per_turn_of_the_loop_and_owners_take_turns() -> None:
    slices, order, turn = Slices(), [], 0

    def count() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count)

    async def block(owner: str) -> None:
        async with slices.turn(owner):
            order.append((owner, turn))

    count()
    await asyncio.gather(*(block(owner) for owner in ("a", "a", "a", "b")))
    assert [owner for owner, _ in order] == ["a", "b", "a", "a"]
    assert len({turn for _, turn in order}) == 4
