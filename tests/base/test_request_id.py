import asyncio

from hub.base import request_id


async def test_each_task_has_a_request_id_of_its_own():
    before = request_id.current()
    seen: list[tuple[str, str]] = []

    async def work() -> None:
        given = request_id.text(request_id.begin())
        await asyncio.sleep(0)
        seen.append((given, request_id.current()))

    await asyncio.gather(*(asyncio.create_task(work()) for _ in range(5)))
    assert all(given == current != "" for given, current in seen)
    assert len({given for given, _ in seen}) == 5
    assert request_id.current() == before
