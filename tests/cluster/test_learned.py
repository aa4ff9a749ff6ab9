"""Learned load times and facts of models across a restart."""

import pytest
from google.protobuf.message import DecodeError

from hub.cluster.learned import LearnedLoadTimes, LearnedModelFacts
from hub.probes.model_facts import ModelFacts, ModelFactsCache
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
    # The load times of a model apply to other endpoints, too.
    assert after.expected_ms("10.0.0.2:11434", "org/model:8b") == 2000
    assert list(learned.take_changed()) == []


def test_evicted_load_times_are_not_kept():
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


def test_the_facts_of_models_are_known_after_a_restart():
    before = ModelFactsCache()
    learned = LearnedModelFacts(before)
    facts = ModelFacts(("completion", "tools"), 131_072, "llama")
    before.put("a:1", "d1", facts)
    before.put("b:1", "d1", ModelFacts())
    after = ModelFactsCache()
    for name in learned.take_changed():
        value = learned.export(name)
        assert value is not None
        LearnedModelFacts(after).restore(name, value)
    assert (after.get("a:1", "d1"), after.get("b:1", "d1")) == (facts, ModelFacts())
    before.forget("a:1")
    assert {name: learned.export(name) for name in learned.take_changed()} == {"a:1": None}


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b"7"])
def test_damaged_facts_of_models_are_an_error(value):
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the parser's
        LearnedModelFacts(ModelFactsCache()).restore("a:1", value)
