from hub.service.changes.endpoint_keys import EndpointKeys
from hub.stores.store import Entry


def test_keys_follow_the_store_and_are_not_printed():
    keys = EndpointKeys()
    keys.apply_put(Entry("secrets/h:1", b"one", 1))
    keys.apply_put(Entry("secrets/h:1", b"two", 2))
    assert keys.get("h:1") == "two"
    assert keys.get("h:2") is None
    assert "two" not in repr(keys)
    keys.apply_delete("secrets/h:1")
    keys.apply_delete("secrets/h:1")
    assert keys.get("h:1") is None
