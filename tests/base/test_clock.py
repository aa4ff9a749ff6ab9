import time

from hub.base.clock import ManualClock, SystemClock


def test_the_system_clock_tells_the_wall_time() -> None:
    before = time.time_ns() // 1_000_000
    now = SystemClock().now_ms()
    after = time.time_ns() // 1_000_000
    assert before - 1 <= now <= after + 1


def test_the_system_clock_does_not_follow_a_wall_clock_that_is_set(monkeypatch) -> None:
    clock = SystemClock()
    before = clock.now_ms()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.now_ms() >= before


def test_the_system_clock_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.now_ms() for _ in range(1_000)]
    assert readings == sorted(readings)


def test_the_system_clock_does_without_boottime(monkeypatch) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    assert abs(SystemClock().now_ms() - time.time_ns() // 1_000_000) < 1_000


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(5_000)
    assert clock.now_ms() == clock.now_ms() == 5_000
    clock.advance(250)
    assert clock.now_ms() == 5_250
