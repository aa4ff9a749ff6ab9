import asyncio
import time

from hub.base import clock as clock_module
from hub.base.clock import Alarm, ManualClock, SystemClock


def test_the_system_clock_starts_at_the_wall_time() -> None:
    before = time.time_ns() // 1_000_000
    now = SystemClock().now_ms()
    after = time.time_ns() // 1_000_000
    assert before - 1 <= now <= after + 1


def test_setting_the_wall_clock_does_not_move_the_system_clock(monkeypatch) -> None:
    clock = SystemClock()
    before = clock.now_ms()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.now_ms() >= before


def test_the_system_clock_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.now_ms() for _ in range(1_000)]
    assert readings == sorted(readings)


def test_the_system_clock_works_without_boottime(monkeypatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert abs(SystemClock().now_ms() - time.time_ns() // 1_000_000) < 1_000


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(5_000)
    assert clock.now_ms() == clock.now_ms() == 5_000
    clock.advance(250)
    assert clock.now_ms() == 5_250


async def test_a_due_alarm_fires_once_and_a_cancelled_one_never() -> None:
    clock, fired = ManualClock(5_000), []
    done = asyncio.Event()
    Alarm(clock, 5_000, lambda: fired.append("cancelled")).cancel()
    Alarm(clock, 5_000, lambda: fired.append("due"))
    Alarm(clock, 4_000, done.set)
    async with asyncio.timeout(10):
        await done.wait()
    await asyncio.sleep(0)
    assert fired == ["due"]


async def test_an_alarm_follows_the_clock_and_not_the_loop(monkeypatch) -> None:
    monkeypatch.setattr(clock_module, "_LONGEST_WAIT_S", 0.001)
    clock, done = ManualClock(0), asyncio.Event()
    Alarm(clock, 3_600_000, done.set)
    clock.advance(3_600_000)
    async with asyncio.timeout(10):
        await done.wait()
