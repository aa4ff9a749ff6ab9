import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from hub.client.call_errors import Violation, call_failed
from hub.contract.errors import (
    FieldViolation,
    HubError,
    ModelUnknown,
    NoCapacity,
    NoHealthyEndpoint,
    ValidationFailed,
)
from hub.transports.grpc.call_context import to_status


class Failed(grpc.RpcError):
    """An error as grpc raises it, with the parts that the client reads."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing) -> None:
        self._given = (code, details, trailing)

    def code(self):
        return self._given[0]

    def details(self):
        return self._given[1]

    def trailing_metadata(self):
        return self._given[2]


def failed_call(error: HubError, code: grpc.StatusCode):
    status = to_status(error).SerializeToString()
    trailing = (("other", "x"), ("grpc-status-details-bin", status))
    return call_failed(Failed(code, error.message, trailing))


def test_reason_metadata_and_retry_are_read() -> None:
    error = NoHealthyEndpoint("none", metadata={"model": "modèle", "n": "2"}, retry_after_ms=1500)
    failed = failed_call(error, grpc.StatusCode.UNAVAILABLE)
    assert (failed.code, failed.message) == (grpc.StatusCode.UNAVAILABLE, "none")
    assert failed.reason == "NO_HEALTHY_ENDPOINT"
    assert failed.metadata == {"model": "modèle", "n": "2"}
    assert failed.retry_after_s == 1.5
    assert str(failed) == "NO_HEALTHY_ENDPOINT: none"


def test_missing_details_are_empty() -> None:
    failed = failed_call(ModelUnknown("no"), grpc.StatusCode.NOT_FOUND)
    assert (failed.reason, failed.metadata, failed.retry_after_s) == ("MODEL_UNKNOWN", {}, None)
    invalid = failed_call(
        ValidationFailed([FieldViolation("model", "required", "is required")]),
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    assert invalid.reason == "VALIDATION_FAILED"
    assert invalid.violations == (Violation("model", "is required", "REQUIRED"),)


def test_rejected_candidates_are_read_from_the_metadata() -> None:
    error = NoCapacity("no", metadata={"model": "m", "labels": "1", "rejected h:1": "no zone"})
    failed = failed_call(error, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert failed.rejections == {"h:1": "no zone"}


def test_the_reason_of_another_service_is_ignored() -> None:
    info = error_details_pb2.ErrorInfo(reason="QUOTA", domain="proxy.example")
    status = status_pb2.Status(code=14, message="no")
    status.details.add().Pack(info)
    trailing = (("grpc-status-details-bin", status.SerializeToString()),)
    failed = call_failed(Failed(grpc.StatusCode.UNAVAILABLE, "no", trailing))
    assert failed.reason == ""


@pytest.mark.parametrize(
    "trailing", [None, (), (("grpc-status-details-bin", b"\xff\xff\xff"),), (("a", "b"),)]
)
def test_an_error_without_details_is_converted_too(trailing) -> None:
    failed = call_failed(Failed(grpc.StatusCode.UNAVAILABLE, "refused", trailing))
    assert (failed.reason, failed.message) == ("", "refused")
    assert str(failed) == "UNAVAILABLE: refused"
