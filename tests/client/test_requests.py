import inspect

import pytest

from hub.client.call_errors import ClientError
from hub.client.requests import (
    duration,
    register_request,
    select_request,
    update_request,
    watch_request,
)
from hub.contract import validation
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DRAINING
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
        (watch_request, WatchRegistryRequest, set()),
        (register_request, RegisterEndpointRequest, {"host", "port", "scheme", "base_path"}),
    ],
)
def test_every_field_of_the_contract_can_be_given(make, message, elsewhere) -> None:
    given = {name.removesuffix("_s") for name in inspect.signature(make).parameters}
    assert (given | elsewhere) - {"address"} == set(message.DESCRIPTOR.fields_by_name)


def test_missing_options_are_absent() -> None:
    request = select_request("m")
    assert request == SelectEndpointRequest(model="m", count=1)
    assert not request.HasField("lease_ttl")
    assert watch_request() == WatchRegistryRequest()


def test_given_values_are_valid_and_in_seconds() -> None:
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


def test_an_address_is_a_url_or_a_host() -> None:
    request = register_request("https://GPU-1/ollama")
    assert (request.scheme, request.host, request.port) == ("https", "gpu-1", 443)
    assert request.base_path == "/ollama"
    assert not request.HasField("api_key"), "the hub keeps the stored key"
    assert register_request("gpu-1", api_key="").HasField("api_key")
    with pytest.raises(ClientError, match="port"):
        register_request("gpu-1:x")


def test_an_update_mask_names_the_given_fields() -> None:
    request = update_request("h:1", labels={}, admin_state=ADMIN_STATE_DRAINING)
    assert request.update_mask.paths == ["labels", "admin_state"]
    assert update_request("h:1", name="").update_mask.paths == ["name"]
