"""Learned load times across a restart."""

import pytest
from google.protobuf.message import DecodeError

from hub.cluster.learned import LearnedLoadTimes
from hub.registry.health.load_times import LoadTimes


def test_load_times_are_known_after_a_restart():
    before = LoadTimes()
    learned = LearnedLoadTimes(before)
    for took_ms in (1000, 3000, 2000):
        before.measured("10.0.0.1:11434", "org/model:8b", took_ms)
    (name,) = learned.take_changed()
    value = learned.export(name)
    assert value is not None
    after = LoadTimes()
    LearnedLoadTimes(after).restore(name, value)
    assert after.expected_ms("10.0.0.1:11434", "org/model:8b") == 2000
    # What is known of the model holds for other endpoints, too.
    assert after.expected_ms("10.0.0.2:11434", "org/model:8b") == 2000
    assert list(learned.take_changed()) == []


def test_what_gave_way_is_not_kept():
    times = LoadTimes(capacity=1)
    learned = LearnedLoadTimes(times)
    times.measured("a:1", "m", 10)
    times.measured("b:1", "m", 10)
    exports = {name: learned.export(name) for name in learned.take_changed()}
    assert exports["a:1/m"] is None
    assert exports["b:1/m"] is not None


def test_a_damaged_value_is_an_error():
    with pytest.raises(DecodeError):
        LearnedLoadTimes(LoadTimes()).restore("a:1/m", b"\xff\xff")
