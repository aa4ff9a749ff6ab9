import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.service.records import (
    RecordRouter,
    decode_endpoint,
    decode_secret,
    durable_fields,
    encode_endpoint,
    encode_secret,
    endpoint_key,
    etag_of,
    name_of,
    revision_of_etag,
    secret_key,
    token_key,
)
from hub.stores.store import Change, Contents, Entry, StoreError
from llmhub.v1 import endpoint_pb2 as pb


def full_endpoint() -> pb.Endpoint:
    endpoint = pb.Endpoint(
        id="[::1]:11434",
        host="::1",
        port=11434,
        scheme="https",
        base_path="/ollama",
        name="Ada's",
        backend=pb.BACKEND_VLLM,
        source=pb.SOURCE_AUTO,
        agent_id="gpu-1",
        status=pb.STATUS_HEALTHY,
        admin_state=pb.ADMIN_STATE_DRAINING,
        models=[pb.Model(name="m")],
        labels={"b": "2", "a": "1"},
        version="1.0",
        consecutive_failures=3,
        last_error="no",
        etag="old",
    )
    endpoint.registered_at.FromMilliseconds(1_800_000_000_000)
    endpoint.last_checked_at.FromMilliseconds(1_800_000_000_001)
    endpoint.next_check_at.FromMilliseconds(1_800_000_000_002)
    endpoint.latency.FromMilliseconds(7)
    return endpoint


DURABLE = {
    *("id", "host", "port", "scheme", "base_path", "name", "backend", "source", "agent_id"),
    *("admin_state", "labels", "registered_at"),
}


def test_only_the_durable_fields_come_back() -> None:
    endpoint = full_endpoint()
    key = endpoint_key(endpoint.id)
    decoded = decode_endpoint(Entry(key, encode_endpoint(durable_fields(endpoint)), 31))
    assert {field.name for field, _ in decoded.ListFields()} == DURABLE | {"etag"}
    for name in DURABLE:
        assert getattr(decoded, name) == getattr(endpoint, name), name
    assert decoded.etag == etag_of(31)


def test_every_field_of_an_endpoint_is_durable_or_observed() -> None:
    observed = {
        *("backend_detected", "status", "models", "version", "last_checked_at", "next_check_at"),
        *("consecutive_failures", "last_error", "latency", "load", "etag"),
        *("sidecar_view", "fault", "flapping", "provenance", "same_server_as", "outcomes"),
    }
    assert {field.name for field in pb.Endpoint.DESCRIPTOR.fields} == DURABLE | observed


def test_a_detected_backend_is_not_durable() -> None:
    endpoint = full_endpoint()
    endpoint.backend_detected = True
    decoded = decode_endpoint(
        Entry(endpoint_key(endpoint.id), encode_endpoint(durable_fields(endpoint)), 1)
    )
    assert decoded.backend == pb.BACKEND_UNSPECIFIED
    assert not decoded.backend_detected


def test_equal_fields_give_equal_bytes() -> None:
    one, two = full_endpoint(), full_endpoint()
    two.labels.clear()
    two.labels.update({"a": "1", "b": "2"})
    two.status = pb.STATUS_UNHEALTHY
    assert encode_endpoint(durable_fields(one)) == encode_endpoint(durable_fields(two))


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x0a\x05other"])
def test_a_damaged_endpoint_is_named(value: bytes) -> None:
    with pytest.raises(StoreError, match="endpoints/h:1"):
        decode_endpoint(Entry("endpoints/h:1", value, 1))


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(value: bytes) -> None:
    with contextlib.suppress(StoreError):
        assert decode_endpoint(Entry("endpoints/h:1", value, 1)).id == "h:1"


def test_keys_are_prefix_and_id() -> None:
    assert endpoint_key("[::1]:1") == "endpoints/[::1]:1"
    assert secret_key("h:1") == "secrets/h:1"
    assert token_key("abc") == "tokens/abc"
    assert name_of("endpoints/a/b") == "a/b"


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_etags_stand_for_revisions(revision: int) -> None:
    assert revision_of_etag(etag_of(revision)) == revision
    assert len(etag_of(revision)) <= 64


@pytest.mark.parametrize("etag", ["", "x", "-1", "0x1f", "1_0", " 1", "1F", "01", "\u0661"])
def test_foreign_etags_have_no_revision(etag: str) -> None:
    assert revision_of_etag(etag) is None


def test_secret_is_read_back_and_a_damaged_one_is_not_shown() -> None:
    assert decode_secret(Entry("secrets/h:1", encode_secret("sk-ü"), 1)) == "sk-ü"
    with pytest.raises(StoreError, match="secrets/h:1") as failure:
        decode_secret(Entry("secrets/h:1", b"sk-1\xff", 1))
    assert "sk-1" not in repr(failure.value)
    assert failure.value.__cause__ is None


class Consumer:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int | None]] = []

    def apply_put(self, entry: Entry) -> None:
        if entry.value == b"damaged":
            raise StoreError(f"{entry.key} is damaged")
        self.seen.append(("put", entry.key, entry.revision))

    def apply_delete(self, key: str) -> None:
        self.seen.append(("delete", key, None))


def test_the_dispatcher_routes_contents_and_changes() -> None:
    endpoints, also, tokens = Consumer(), Consumer(), Consumer()
    dispatcher = RecordRouter({"endpoints": [endpoints, also], "tokens": [tokens]})
    dispatcher.load(
        Contents(
            (Entry("endpoints/a", b"", 1), Entry("later/x", b"", 2), Entry("tokens/t", b"", 3)), 3
        )
    )
    dispatcher.apply(Change(4, (Entry("tokens/u", b"", 4),), ("endpoints/a", "later/x")))
    assert endpoints.seen == [("put", "endpoints/a", 1), ("delete", "endpoints/a", None)]
    assert also.seen == endpoints.seen
    assert tokens.seen == [("put", "tokens/t", 3), ("put", "tokens/u", 4)]
    assert dispatcher.unrouted == 2


def test_a_key_that_only_begins_like_a_route_is_not_routed() -> None:
    endpoints = Consumer()
    dispatcher = RecordRouter({"endpoints": [endpoints]})
    dispatcher.apply(Change(1, (Entry("endpoints2/a", b"", 1), Entry("endpoint", b"", 1)), ()))
    assert endpoints.seen == []


def test_loading_a_damaged_record_fails() -> None:
    dispatcher = RecordRouter({"endpoints": [Consumer()]})
    with pytest.raises(StoreError, match="endpoints/a"):
        dispatcher.load(Contents((Entry("endpoints/a", b"damaged", 1),), 1))


def test_a_damaged_record_does_not_stop_the_others() -> None:
    consumer = Consumer()
    dispatcher = RecordRouter({"endpoints": [consumer]})
    change = Change(1, (Entry("endpoints/a", b"damaged", 1), Entry("endpoints/b", b"", 1)), ())
    with pytest.raises(StoreError, match="endpoints/a"):
        dispatcher.apply(change)
    assert consumer.seen == [("put", "endpoints/b", 1)]
