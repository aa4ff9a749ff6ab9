from hub.probes.lanes import Lane, LaneQueue, Run


def test_lateness_counts_from_the_due_time_and_is_never_negative():
    assert Run("a:1", "a", Lane.LIVE, due_ms=100, started_ms=130, ticket=1).lateness_ms == 30
    assert Run("a:1", "a", Lane.LIVE, due_ms=200, started_ms=130, ticket=1).lateness_ms == 0


def test_probes_of_a_busy_host_wait_until_one_of_its_probes_ends():
    queue = LaneQueue(limit=10, per_host=1)
    queue.occupy("a")
    assert not queue.has_room_for("a")
    assert queue.has_room_for("b")
    for ticket in (1, 2, 3):
        queue.park((ticket, f"a:{ticket}", "a"))
    assert (queue.waiting(), queue.is_waited_for, list(queue.ready)) == (3, True, [])
    queue.vacate("a", lambda item: item[0] != 1)
    assert list(queue.ready) == [(2, "a:2", "a")], "the first one is no longer current"
    assert queue.waiting() == 2
    assert queue.running == 0


def test_a_lane_is_full_at_its_limit():
    queue = LaneQueue(limit=1, per_host=4)
    assert not queue.is_full
    queue.occupy("a")
    assert queue.is_full
