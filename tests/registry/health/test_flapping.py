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


def test_enough_changes_within_the_window_mark_an_endpoint() -> None:
    unsteady = damper()
    for at in (0, 30, 60):
        assert unsteady.judge(ID, at * S, changed=True) is None
    verdict = unsteady.judge(ID, 90 * S, changed=True)
    assert verdict is not None
    assert verdict.trusted_at_ms == 390 * S
    assert verdict.reason == "probes changed between success and failure 4 times in 90 s"


def test_changes_that_become_rare_postpone_the_time_until_the_endpoint_is_steady() -> None:
    unsteady = damper()
    for at in (0, 30, 60, 90, 389):
        unsteady.judge(ID, at * S, changed=True)
    # The last four changes are further apart than the window.
    verdict = unsteady.judge(ID, 688 * S, changed=True)
    assert verdict is not None
    assert verdict.trusted_at_ms == 988 * S


def test_frequent_changes_after_rare_ones_mark_an_endpoint() -> None:
    slow = damper()
    for at in (0, 200, 400, 600, 800):
        assert slow.judge(ID, at * S, changed=True) is None
    for at in (810, 820):
        slow.judge(ID, at * S, changed=True)
    assert slow.judge(ID, 830 * S, changed=True) is not None


def test_rare_changes_do_not_mark_an_endpoint() -> None:
    slow = damper()
    for at in range(0, 36_000, 200):
        assert slow.judge(ID, at * S, changed=True) is None, at


def test_an_endpoint_is_trusted_again_exactly_at_the_announced_time() -> None:
    unsteady = damper()
    for at in (0, 30, 60, 90):
        unsteady.judge(ID, at * S, changed=True)
    assert unsteady.judge(ID, 390 * S - 1, changed=False) is not None
    assert unsteady.judge(ID, 390 * S, changed=False) is None
    assert len(unsteady) == 0


def test_every_further_change_postpones_the_time() -> None:
    unsteady = damper()
    for at in (0, 30, 60, 90):
        unsteady.judge(ID, at * S, changed=True)
    # Too rare to mark it again.
    verdict = unsteady.judge(ID, 380 * S, changed=True)
    assert verdict is not None
    assert verdict.trusted_at_ms == 680 * S
    assert unsteady.judge(ID, 679 * S, changed=False) is not None


def test_a_single_change_is_forgotten_after_the_window() -> None:
    once = damper()
    once.judge(ID, 0, changed=True)
    once.judge(ID, 599 * S, changed=False)
    assert len(once) == 1
    once.judge(ID, 600 * S, changed=False)
    assert len(once) == 0


def test_endpoints_are_judged_separately_and_can_be_forgotten() -> None:
    unsteady = damper()
    for at in (0, 30, 60, 90):
        unsteady.judge(ID, at * S, changed=True)
        assert unsteady.judge("calm:1", at * S, changed=False) is None
    unsteady.forget(ID)
    unsteady.forget("unknown:1")
    assert unsteady.judge(ID, 91 * S, changed=False) is None


def test_flapping_requires_at_least_two_changes() -> None:
    with pytest.raises(ValueError, match="at least two changes"):
        Damper(changes=1, window_ms=1, hold_ms=1)
