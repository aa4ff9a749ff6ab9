import pytest

from hub.service.access.caller import Principal
from hub.service.access.token_uses import WRITTEN_EVERY_MS, TokenUses, Use
from hub.stores.store import Entry, StoreError
from llmhub.v1.resources_pb2 import ROLE_READER

NOW = 1_800_000_000_000


def bearer(token_id: str, *, is_certified: bool = False) -> Principal:
    return Principal(ROLE_READER, "", token_id, is_certified=is_certified)


def write(uses: TokenUses, most: int = 100) -> list[str]:
    """Writes what is due as a store would; returns the keys."""
    puts = uses.due(most)
    for put in puts:
        uses.apply_put(Entry(put.key, put.value, 1))
    return [put.key for put in puts]


def test_the_last_use_counts():
    uses = TokenUses()
    assert uses.last("t") is None
    uses.note(bearer("t"), "10.0.0.1", NOW)
    uses.note(bearer("t"), "10.0.0.2", NOW + 5)
    assert uses.last("t") == Use(NOW + 5, "10.0.0.2")


def test_a_token_in_use_is_written_once_in_a_while():
    uses = TokenUses()
    written = []
    for second in range(180):
        uses.note(bearer("t"), "10.0.0.1", NOW + second * 1000)
        written += write(uses)
    assert written == ["uses/t"] * 3


def test_at_most_so_many_are_written_and_the_others_come_next():
    uses = TokenUses()
    for i in range(5):
        uses.note(bearer(f"t{i}"), "10.0.0.1", NOW)
    batches = [write(uses, 2) for _ in range(4)]
    assert batches == [["uses/t0", "uses/t1"], ["uses/t2", "uses/t3"], ["uses/t4"], []]


def test_a_later_use_at_another_hub_of_the_store_counts():
    uses = TokenUses()
    uses.note(bearer("t"), "10.0.0.1", NOW)
    uses.apply_put(Entry("uses/t", b'[%d,"10.0.0.9"]' % (NOW + 1), 1))
    assert uses.last("t") == Use(NOW + 1, "10.0.0.9")
    uses.note(bearer("t"), "10.0.0.1", NOW + WRITTEN_EVERY_MS)
    assert uses.last("t") == Use(NOW + WRITTEN_EVERY_MS, "10.0.0.1")


def test_a_token_that_is_gone_is_not_written_again():
    uses = TokenUses()
    uses.note(bearer("t"), "10.0.0.1", NOW)
    write(uses)
    assert uses.is_stored("t")
    uses.note(bearer("t"), "10.0.0.1", NOW + WRITTEN_EVERY_MS)
    uses.forget("t")
    uses.apply_delete("uses/t")
    assert not uses.due(10)
    assert uses.last("t") is None
    assert not uses.is_stored("t")


@pytest.mark.parametrize("value", [b"", b"[]", b'["x", 1]', b"\xff"])
def test_a_damaged_record(value):
    with pytest.raises(StoreError, match="uses/t"):
        TokenUses().apply_put(Entry("uses/t", value, 1))


def test_only_tokens_are_noted():
    uses = TokenUses()
    uses.note(bearer(""), "10.0.0.1", NOW)
    uses.note(bearer("cert:dns:a", is_certified=True), "10.0.0.1", NOW)
    assert not uses.due(10)
