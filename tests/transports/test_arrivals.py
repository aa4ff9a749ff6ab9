from hub.transports.arrivals import Arrivals


def test_the_oldest_of_a_network_is_evicted_for_one_more() -> None:
    arrivals: Arrivals[int] = Arrivals(per_network=2, in_all=3)
    assert arrivals.to_evict("a") is None
    arrivals.add(1, "b")
    arrivals.add(2, "a")
    arrivals.add(3, "a")
    assert arrivals.to_evict("a") == 2
    assert arrivals.to_evict("b") == 2
    arrivals.discard(1)
    assert arrivals.to_evict("b") is None
    assert arrivals.to_evict("a") == 2


def test_what_left_is_forgotten() -> None:
    arrivals: Arrivals[int] = Arrivals(per_network=2, in_all=3)
    arrivals.add(1, "a")
    assert 1 in arrivals
    arrivals.discard(1)
    arrivals.discard(1)
    assert len(arrivals) == 0
    assert not arrivals._by_network


def test_a_full_set_evicts_the_oldest_of_the_network_with_the_most() -> None:
    arrivals: Arrivals[int] = Arrivals(per_network=9, in_all=4)
    for item, network in ((1, "b"), (2, "a"), (3, "a"), (4, "c")):
        arrivals.add(item, network)
    assert arrivals.count("a") == 2
    assert arrivals.to_evict("b") == 2
    assert arrivals.network(2) == "a"
    arrivals.discard(2)
    arrivals.add(5, "d")
    assert arrivals.to_evict("a") == 1
