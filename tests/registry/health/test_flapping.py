import pytest

from hub.registry.health.flapping import Damper

ID = "gpu-1:11434"
S = 1_000


def damper() -> Damper:
    return Damper(changes=4, window_ms=600 * S, hold_ms=300 * S)


def test_a_steady_endpoint_is_trusted_and_takes_no_memory() -> None:
    calm = damper()
    for at in range(0, 3_600, 30):
        assert calm.judge(ID, at * S, changed=False) is None
    assert len(calm) == 0


def test_as_many_changes_as_are_set_within_the_window_mark_it() -> None:
    nervous = damper()
    for at in (0, 30, 60):
        assert nervous.judge(ID, at * S, changed=True) is None
    verdict = nervous.judge(ID, 90 * S, changed=True)
    assert verdict is not None
    assert verdict.trusted_at_ms == 390 * S
    assert verdict.reason == "probes changed between success and failure 4 times in 90 s"


def test_rare_changes_do_not_mark_it() -> None:
    slow = damper()
    for at in range(0, 36_000, 200):
        assert slow.judge(ID, at * S, changed=True) is None, at


def test_it_is_trusted_again_exactly_when_it_was_said() -> None:
    nervous = damper()
    for at in (0, 30, 60, 90):
        nervous.judge(ID, at * S, changed=True)
    assert nervous.judge(ID, 390 * S - 1, changed=False) is not None
    assert nervous.judge(ID, 390 * S, changed=False) is None
    assert len(nervous) == 0


def test_every_further_change_puts_the_time_off() -> None:
    nervous = damper()
    for at in (0, 30, 60, 90):
        nervous.judge(ID, at * S, changed=True)
    # Rarer than would mark it again.
    verdict = nervous.judge(ID, 380 * S, changed=True)
    assert verdict is not None
    assert verdict.trusted_at_ms == 680 * S
    assert nervous.judge(ID, 679 * S, changed=False) is not None


def test_single_change_is_forgotten_after_the_window() -> None:
    once = damper()
    once.judge(ID, 0, changed=True)
    once.judge(ID, 599 * S, changed=False)
    assert len(once) == 1
    once.judge(ID, 600 * S, changed=False)
    assert len(once) == 0


def test_endpoints_are_judged_apart_and_forgotten() -> None:
    nervous = damper()
    for at in (0, 30, 60, 90):
        nervous.judge(ID, at * S, changed=True)
        assert nervous.judge("calm:1", at * S, changed=False) is None
    nervous.forget(ID)
    nervous.forget("nobody:1")
    assert nervous.judge(ID, 91 * S, changed=False) is None


def test_one_change_is_no_flapping() -> None:
    with pytest.raises(ValueError, match="no flapping"):
        Damper(changes=1, window_ms=1, hold_ms=1)
