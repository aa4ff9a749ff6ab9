from hub.transports.grpc.native.arrivals import Arrivals


def test_the_oldest_of_a_network_is_in_the_way_of_one_more() -> None:
    arrivals: Arrivals[int] = Arrivals(per_network=2, in_all=3)
    assert arrivals.in_the_way("a") is None
    arrivals.add(1, "b")
    arrivals.add(2, "a")
    arrivals.add(3, "a")
    assert arrivals.in_the_way("a") == 2
    assert arrivals.in_the_way("b") == 1
    arrivals.discard(1)
    assert arrivals.in_the_way("b") is None
    assert arrivals.in_the_way("a") == 2


def test_what_left_is_forgotten() -> None:
    arrivals: Arrivals[int] = Arrivals(per_network=2, in_all=3)
    arrivals.add(1, "a")
    assert 1 in arrivals
    arrivals.discard(1)
    arrivals.discard(1)
    assert len(arrivals) == 0
    assert not arrivals._by_network
