"""Ages by two clocks, within one boot and across a reboot."""

import pytest

from hub.base.moment import Moment, SystemTime, age_ms

HOUR = 3_600_000
THEN = Moment("a", 500_000, 1_800_000_000_000)


def later(boot_id: str = "a", *, boot_ms: int, wall_ms: int) -> Moment:
    return Moment(boot_id, THEN.boot_ms + boot_ms, THEN.wall_ms + wall_ms)


@pytest.mark.parametrize("jump_ms", [-10 * HOUR, 0, 10 * HOUR])
def test_a_wall_clock_that_is_set_does_not_change_an_age_within_one_boot(jump_ms):
    assert age_ms(THEN, later(boot_ms=7_000, wall_ms=7_000 + jump_ms)) == 7_000


def test_the_wall_clock_decides_across_a_reboot():
    rebooted = Moment("b", 20_000, THEN.wall_ms + 90_000)
    assert age_ms(THEN, rebooted) == 90_000


def test_an_age_across_a_reboot_is_at_least_the_time_since_it():
    """A machine without a clock battery can start with the time of its shutdown."""
    rebooted = Moment("b", 20_000, THEN.wall_ms + 5)
    assert age_ms(THEN, rebooted) == 20_000


def test_the_age_is_unknown_if_the_wall_clock_was_set_back_across_a_reboot():
    assert age_ms(THEN, Moment("b", 20_000, THEN.wall_ms - 1)) is None


def test_the_wall_clock_decides_if_the_system_does_not_name_its_boots():
    then = Moment("", 500_000, 1_000_000)
    assert age_ms(then, Moment("", 400, 1_003_000)) == 3_000
    assert age_ms(then, Moment("", 900_000, 999_999)) is None


def test_the_wall_clock_decides_if_the_boot_clock_went_back():
    """This happens to a container that restarts in its own time namespace."""
    assert age_ms(THEN, Moment("a", 10, THEN.wall_ms + 4_000)) == 4_000


def test_the_machine_has_one_boot():
    first, second = SystemTime().now(), SystemTime().now()
    assert first.boot_id == second.boot_id
    age = age_ms(first, second)
    assert age is not None
    assert 0 <= age < 60_000
