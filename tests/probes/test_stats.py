from hub.probes.stats import WorstOf


def test_the_worst_value_of_this_and_the_last_period_counts() -> None:
    late = WorstOf(100)
    assert late.worst(0) == 0
    late.add(10, 7)
    late.add(20, 3)
    assert late.worst(99) == 7
    late.add(150, 2)
    assert late.worst(199) == 7
    assert late.worst(200) == 2
    assert late.worst(400) == 0
