import pytest

from hub.registry.filters import EndpointFilter, has_labels
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    BACKEND_UNSPECIFIED,
    BACKEND_VLLM,
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    STATUS_UNSPECIFIED,
    Endpoint,
    Model,
)

ENDPOINT = Endpoint(
    id="h:1",
    backend=BACKEND_OLLAMA,
    status=STATUS_HEALTHY,
    models=[Model(name="a"), Model(name="b")],
    labels={"zone": "x", "tier": ""},
)


def wanted(model="", backend=BACKEND_UNSPECIFIED, status=STATUS_UNSPECIFIED, labels=()):
    return EndpointFilter.of(model, backend, status, dict(labels))


def test_an_empty_filter_is_false_and_matches_everything() -> None:
    assert not wanted()
    assert wanted().matches(ENDPOINT)
    assert wanted().matches(Endpoint())


@pytest.mark.parametrize(
    ("filter_", "matches"),
    [
        (wanted(model="b"), True),
        (wanted(model="c"), False),
        (wanted(backend=BACKEND_OLLAMA), True),
        (wanted(backend=BACKEND_VLLM), False),
        (wanted(status=STATUS_HEALTHY), True),
        (wanted(status=STATUS_UNHEALTHY), False),
        (wanted(labels={"zone": "x"}.items()), True),
        (wanted(labels={"zone": "x", "tier": ""}.items()), True),
        (wanted(labels={"zone": "y"}.items()), False),
        (wanted(labels={"rack": ""}.items()), False),
        (wanted(model="a", backend=BACKEND_VLLM), False),
    ],
)
def test_an_endpoint_must_meet_every_field_of_the_filter(
    filter_: EndpointFilter, matches: bool
) -> None:
    assert filter_
    assert filter_.matches(ENDPOINT) is matches


def test_checking_a_label_does_not_add_it() -> None:
    endpoint = Endpoint()
    assert not has_labels(endpoint, frozenset({("zone", "x")}))
    assert not endpoint.labels


def test_equal_filters_are_the_same_key() -> None:
    assert hash(wanted(labels={"a": "1", "b": "2"}.items())) == hash(
        wanted(labels={"b": "2", "a": "1"}.items())
    )


def test_checking_labels_does_not_change_the_endpoint() -> None:
    endpoint = Endpoint(labels={"zone": "x", "empty": ""})
    assert has_labels(endpoint, frozenset())
    assert has_labels(endpoint, frozenset({("zone", "x"), ("empty", "")}))
    assert not has_labels(endpoint, frozenset({("zone", "y")}))
    assert not has_labels(endpoint, frozenset({("absent", "")}))
    assert dict(endpoint.labels) == {"zone": "x", "empty": ""}


def test_a_model_filter_accepts_a_name_without_the_tag_latest():
    endpoint = Endpoint(models=[Model(name="real-chat:latest")])
    assert EndpointFilter(model="real-chat").matches(endpoint)
    assert EndpointFilter(model="real-chat:latest").matches(endpoint)
    assert not EndpointFilter(model="real-chat:7b").matches(endpoint)
    assert not EndpointFilter(model="real").matches(endpoint)


def test_the_port_of_a_registry_is_not_a_tag():
    endpoint = Endpoint(models=[Model(name="models.lan:5000/chat:latest")])
    assert EndpointFilter(model="models.lan:5000/chat").matches(endpoint)
    assert not EndpointFilter(model="models.lan").matches(endpoint)
