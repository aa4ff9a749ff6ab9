import orjson
from hypothesis import given
from hypothesis import strategies as st

from hub.probes.model_facts import MAX_DIGEST, ModelFacts, ModelFactsCache, facts_of

CHAT = ModelFacts(("completion", "tools"), 131_072, "llama")
EMBED = ModelFacts(("embedding",), 512, "bert")


def test_facts_are_kept_by_endpoint_and_digest():
    cache = ModelFactsCache()
    cache.put("a:1", "d1", CHAT)
    assert cache.get("a:1", "d1") == CHAT
    assert cache.get("a:1", "d2") is None
    assert cache.get("b:1", "d1") is None, "facts of one server do not apply to another"


def test_unlisted_models_are_forgotten():
    cache = ModelFactsCache()
    for digest in ("d1", "d2"):
        cache.put("a:1", digest, CHAT)
    cache.keep_only("a:1", {"d2", "d3"})
    assert (cache.get("a:1", "d1"), cache.get("a:1", "d2"), len(cache)) == (None, CHAT, 1)
    cache.keep_only("a:1", set())
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_too_many_entries_evict_the_endpoint_unused_for_longest():
    cache = ModelFactsCache(max_entries=3)
    for endpoint in ("a:1", "b:1", "c:1"):
        cache.put(endpoint, "d", CHAT)
    cache.keep_only("a:1", {"d"})
    cache.put("d:1", "d", EMBED)
    kept = [each for each in ("a:1", "b:1", "c:1", "d:1") if cache.export(each)]
    assert kept == ["a:1", "c:1", "d:1"]


def test_a_single_endpoint_that_exceeds_the_bound_keeps_nothing():
    cache = ModelFactsCache(max_entries=2)
    for number in range(3):
        cache.put("a:1", f"d{number}", CHAT)
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_bytes_are_bounded_too():
    cache = ModelFactsCache(max_bytes=10_000)
    rich = ModelFacts(tuple(f"{number:0100}" for number in range(64)))
    for number in range(100):
        cache.put(f"a:{number}", "d", rich)
        assert cache.size_bytes <= 10_000
    assert len(cache) == 1


def test_an_empty_or_too_long_digest_is_not_stored():
    cache = ModelFactsCache()
    cache.put("a:1", "", CHAT)
    cache.put("a:1", "d" * (MAX_DIGEST + 1), CHAT)
    assert len(cache) == 0


def test_a_replaced_entry_counts_once():
    cache = ModelFactsCache()
    cache.put("a:1", "d", CHAT)
    cache.put("a:1", "d", EMBED)
    assert len(cache) == 1
    cache.forget("a:1")
    assert cache.size_bytes == 0


def test_exported_state_is_restored_from_json():
    cache = ModelFactsCache()
    cache.put("a:1", "d1", CHAT)
    cache.put("b:1", "d2", ModelFacts(None, None))
    cache.put("b:1", "d3", ModelFacts(()))
    other = ModelFactsCache()
    for endpoint, count in (("a:1", 1), ("b:1", 2), ("c:1", 0)):
        exported = cache.export(endpoint)
        assert other.restore(orjson.loads(orjson.dumps(exported))) == count
        assert other.export(endpoint) == exported
    assert other.get("b:1", "d3") == ModelFacts(()), "no capabilities are not unknown capabilities"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["endpoint", "digest", "capabilities", "context_length", "family"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(st.lists(JSON, max_size=5))
def test_damaged_entries_are_skipped(entries):
    cache = ModelFactsCache()
    assert cache.restore(entries) >= len(cache)
    for endpoint in cache.take_changed():
        for entry in cache.export(endpoint):
            assert facts_of(entry) == cache.get(endpoint, entry["digest"])


def test_changed_endpoints_are_returned_once():
    cache = ModelFactsCache(max_entries=2)
    cache.put("a:1", "d1", CHAT)
    cache.put("a:1", "d2", CHAT)
    assert cache.take_changed() == ["a:1"]
    cache.keep_only("a:1", {"d1", "d2"})
    assert cache.take_changed() == []
    cache.keep_only("a:1", {"d1"})
    assert cache.take_changed() == ["a:1"]
    cache.put("b:1", "d1", CHAT)
    cache.put("c:1", "d1", CHAT)
    assert set(cache.take_changed()) == {"a:1", "b:1", "c:1"}, "a:1 was evicted"
    cache.forget("b:1")
    cache.forget("b:1")
    assert cache.take_changed() == ["b:1"]


def test_lookups_of_the_whole_fleet_keep_a_pace():
    cache = ModelFactsCache()
    at_once = sum(cache.may_ask(1000.0) for _ in range(1000))
    assert at_once == 400
    later = sum(cache.may_ask(1000.0 + step / 1000) for step in range(1, 1001))
    assert 195 <= later <= 201
