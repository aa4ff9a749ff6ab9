import inspect

import pytest

from hub.client.requests import duration, select_request, watch_request
from hub.contract import validation
from llmhub.v1.registry_service_pb2 import (
    STRATEGY_WEIGHTED,
    ScoreWeights,
    SelectEndpointRequest,
    WatchRegistryRequest,
)


@pytest.mark.parametrize(
    ("make", "message", "elsewhere"),
    [
        (select_request, SelectEndpointRequest, set()),
        (watch_request, WatchRegistryRequest, {"after_revision"}),
    ],
)
def test_every_field_of_the_contract_can_be_given(make, message, elsewhere) -> None:
    given = {name.removesuffix("_s") for name in inspect.signature(make).parameters}
    assert given | elsewhere == set(message.DESCRIPTOR.fields_by_name)


def test_what_is_not_given_is_absent() -> None:
    request = select_request("m")
    assert request == SelectEndpointRequest(model="m", count=1)
    assert not request.HasField("lease_ttl")
    assert watch_request() == WatchRegistryRequest()


def test_what_is_given_is_valid_and_in_seconds() -> None:
    request = select_request(
        "m",
        labels={"a": "b"},
        capabilities=["tools"],
        max_fact_age_s=1.5,
        lease_ttl_s=0.25,
        strategy=STRATEGY_WEIGHTED,
        weights=ScoreWeights(cpu=1),
        exclude_ids={"a:1"},
    )
    validation.check(request)
    assert (request.max_fact_age.seconds, request.max_fact_age.nanos) == (1, 500_000_000)
    assert request.lease_ttl.ToMilliseconds() == 250
    validation.check(watch_request(progress_interval_s=0.1))
    assert duration(None) is None
