from hub.probes.pace import Pace


def test_a_burst_is_followed_by_the_rate():
    pace = Pace(3)
    pace.earn(1000, 0.01)
    assert [pace.take() for _ in range(4)] == [True, True, True, False]
    assert pace.ready_ms(0.01) == 1100
    pace.earn(1099, 0.01)
    assert not pace.is_ready
    pace.earn(1100, 0.01)
    assert pace.take()


def test_credit_is_bounded_and_time_that_goes_back_earns_nothing():
    pace = Pace(2)
    pace.earn(1_000_000, 1.0)
    pace.earn(0, 1.0)
    assert [pace.take() for _ in range(3)] == [True, True, False]
