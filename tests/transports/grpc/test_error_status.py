import pytest
from google.rpc import code_pb2, error_details_pb2

from hub.contract import errors
from hub.contract.errors import (
    EndpointNotFound,
    FieldViolation,
    HubError,
    NoHealthyEndpoint,
    RateLimited,
    ValidationFailed,
)
from hub.transports.grpc.error_status import to_status
from llmhub.v1.error_reason_pb2 import ErrorReason


def leaves(kind: type[HubError]) -> list[type[HubError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


def example(kind: type[HubError]) -> HubError:
    if kind is ValidationFailed:
        return ValidationFailed([FieldViolation("name", "required", "is required")])
    if kind is RateLimited:
        return RateLimited("heavy", 1500)
    return kind("what happened", metadata={"key": "value"})


def details(error: HubError) -> dict:
    found = {}
    for detail in to_status(error).details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
        ):
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


@pytest.mark.parametrize("kind", leaves(HubError), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_a_reason_and_its_domain(kind):
    error = example(kind)
    status = to_status(error)
    assert status.code == kind.code != code_pb2.OK
    assert status.message == str(error)
    info = details(error)["ErrorInfo"]
    assert info.domain == "llmhub"
    assert info.reason == error.reason_name
    assert ErrorReason.Value(f"ERROR_REASON_{info.reason}") == kind.reason
    assert dict(info.metadata) == error.metadata


def test_every_reason_is_one_errors():
    reasons = [kind.reason for kind in leaves(HubError)]
    assert sorted(reasons) == sorted(number for number in ErrorReason.values() if number)


def test_the_tree_at_the_top_of_the_module_is_the_tree():
    for kind in leaves(HubError):
        assert kind.__name__ in errors.__doc__
        for base in kind.__mro__[1:-3]:
            assert base.__name__ in errors.__doc__


def test_field_violations():
    violations = [
        FieldViolation("host", "required", "is required"),
        FieldViolation("gpus[1].name", "too_long", "exceeds maximum length", "xyz..."),
    ]
    bad = details(ValidationFailed(violations))["BadRequest"]
    assert [(each.field, each.reason, each.description) for each in bad.field_violations] == [
        ("host", "REQUIRED", "is required"),
        ("gpus[1].name", "TOO_LONG", "exceeds maximum length"),
    ]


def test_transient_error_has_a_retry_time():
    error = NoHealthyEndpoint("none is healthy", retry_after_ms=2500)
    assert details(error)["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    assert details(RateLimited("light", 500))["RetryInfo"].retry_delay.ToMilliseconds() == 500


def test_permanent_error_has_no_retry_time():
    assert set(details(EndpointNotFound("none"))) == {"ErrorInfo"}
