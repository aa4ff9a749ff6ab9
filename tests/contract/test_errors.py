from collections.abc import Iterator

import pytest
from google.rpc import code_pb2

from hub.contract import action_errors, errors
from hub.contract.errors import FieldViolation, HubError, RateLimited, ValidationFailed
from llmhub.v1.error_reason_pb2 import ERROR_REASON_UNSPECIFIED, ErrorReason


def subclasses(of: type[HubError]) -> Iterator[type[HubError]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


MODULES = {errors.__name__, action_errors.__name__}
LEAVES = [each for each in subclasses(HubError) if not each.__subclasses__()]


def test_the_tree_is_in_two_modules() -> None:
    assert {leaf.__module__ for leaf in LEAVES} == MODULES


def test_every_reason_is_one_leaf_of_the_tree() -> None:
    reasons = [leaf.reason for leaf in LEAVES]
    assert len(set(reasons)) == len(reasons)
    assert set(reasons) == set(ErrorReason.values()) - {ERROR_REASON_UNSPECIFIED}


def test_every_leaf_is_below_its_code() -> None:
    for leaf in LEAVES:
        (middle,) = leaf.__bases__
        assert middle.__bases__ == (HubError,), leaf
        assert leaf.code == middle.code
        assert "code" not in vars(leaf)
    middles = HubError.__subclasses__()
    assert len({middle.code for middle in middles}) == len(middles)
    for middle in middles:
        name = "".join(word.title() for word in code_pb2.Code.Name(middle.code).split("_"))
        assert middle.__name__ == name


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    for leaf in LEAVES:
        assert leaf.__name__ in errors.__doc__


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_the_wire_code_is_the_reason_in_lower_case(leaf: type[HubError]) -> None:
    error = leaf.__new__(leaf)
    assert error.reason_name == ErrorReason.Name(leaf.reason).removeprefix("ERROR_REASON_")
    assert error.wire_code == error.reason_name.lower()


def test_the_codes_that_clients_in_the_field_match_on() -> None:
    codes = {leaf.__new__(leaf).wire_code for leaf in LEAVES}
    assert codes >= {
        "invalid_token",
        "token_agent_mismatch",
        "not_identified",
        "invalid_json",
        "validation_failed",
        "endpoint_not_found",
        "rate_limited",
    }


def test_errors_have_a_message_and_metadata_of_their_own() -> None:
    first, second = errors.EndpointNotFound("no such"), errors.EndpointNotFound("nor this")
    assert str(first) == first.message == "no such"
    assert first.metadata == {}
    first.metadata["id"] = "x"
    assert second.metadata == {}
    assert first.retry_after_ms is None


def test_a_failed_validation_names_the_first_field_and_counts_the_rest() -> None:
    host = FieldViolation("host", "required", "is required")
    port = FieldViolation("port", "out_of_range", "must be less", "99999")
    assert str(ValidationFailed([host])) == "host: is required"
    both = ValidationFailed([host, port])
    assert str(both) == "host: is required (and 1 more)"
    assert both.violations == [host, port]


def test_a_rate_limit_error_says_when_to_retry() -> None:
    error = RateLimited("heavy", 1_500)
    assert error.retry_after_ms == 1_500
    assert error.metadata == {"tier": "heavy"}
    assert error.tier == "heavy"
    assert "1500 ms" in str(error)
