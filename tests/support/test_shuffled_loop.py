"""The loop: an order for each seed, virtual time, and an end for programs that hang."""

import asyncio

import pytest

from tests.support.shuffled_loop import ShuffledLoop, Stuck


async def names(*users: str) -> list[str]:
    """The order in which tasks that are all ready come to their end."""
    order: list[str] = []

    async def user(name: str) -> None:
        await asyncio.sleep(0)
        order.append(name)

    await asyncio.gather(*map(user, users))
    return order


def test_a_seed_gives_one_order_and_other_seeds_give_others() -> None:
    orders = [ShuffledLoop(seed).run(names("a", "b", "c")) for seed in range(50)]
    assert orders == [ShuffledLoop(seed).run(names("a", "b", "c")) for seed in range(50)]
    assert len({tuple(order) for order in orders}) == 6, "every order of three"


def test_posted_callbacks_keep_their_order() -> None:
    async def post() -> list[int]:
        loop, order = asyncio.get_running_loop(), []
        for number in range(9):
            loop.call_soon_threadsafe(order.append, number)
        await asyncio.sleep(1)
        return order

    for seed in range(20):
        assert ShuffledLoop(seed).run(post()) == list(range(9))


def test_time_jumps_to_the_next_timer() -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.get_running_loop().create_future()
        await asyncio.sleep(7)
        return asyncio.get_running_loop().time()

    assert ShuffledLoop(1).run(wait()) == 607


def test_a_deadlock_and_a_livelock_end() -> None:
    async def forever() -> None:
        while True:  # noqa: ASYNC110 - this is what must end
            await asyncio.sleep(0)

    async def deadlock() -> None:
        lock = asyncio.Lock()
        async with lock:
            await lock.acquire()

    with pytest.raises(Stuck, match="nothing will wake"):
        ShuffledLoop(1).run(deadlock())
    with pytest.raises(Stuck, match="not at rest"):
        ShuffledLoop(1).run(forever())


def test_a_failing_callback_and_a_failing_check_end_the_run() -> None:
    async def fail() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        ShuffledLoop(1).run(fail())
    with pytest.raises(ArithmeticError):
        ShuffledLoop(1, check=lambda: (_ for _ in ()).throw(ArithmeticError)).run(names("a"))


def test_tasks_that_are_left_are_cancelled() -> None:
    ended = []

    async def left() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            ended.append(True)

    async def main() -> None:
        main.task = asyncio.create_task(left())
        await asyncio.sleep(0.5)

    ShuffledLoop(1).run(main())
    assert ended == [True]
