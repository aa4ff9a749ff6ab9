import asyncio

from structlog.testing import capture_logs

from hub.base.tasks import tell_of_end


async def fail() -> None:
    raise RuntimeError("unforeseen")


async def test_failed_task_is_logged_and_reported() -> None:
    ended = asyncio.Event()
    with capture_logs() as logged:
        tell_of_end(asyncio.create_task(fail(), name="expiry"), ended.set)
        await asyncio.wait_for(ended.wait(), 10)
    (line,) = logged
    assert (line["log_level"], line["task"]) == ("error", "expiry")
    assert isinstance(line["exc_info"], RuntimeError)


async def test_a_task_that_was_cancelled_is_none_of_ours() -> None:
    ended = asyncio.Event()
    task = asyncio.create_task(asyncio.Event().wait())
    with capture_logs() as logged:
        tell_of_end(task, ended.set)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert logged == []
    assert not ended.is_set()
