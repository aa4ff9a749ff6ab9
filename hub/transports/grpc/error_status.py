"""Domain errors as google.rpc.Status, the rich error model of gRPC.

Every error carries ErrorInfo (reason, domain "llmhub", metadata); a validation
error also BadRequest with one violation a field, and one that may pass
RetryInfo (https://google.aip.dev/193).
"""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from hub.contract.errors import ERROR_DOMAIN, HubError, ValidationFailed


def to_status(error: HubError) -> status_pb2.Status:
    """The google.rpc.Status of a domain error."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason_name, domain=ERROR_DOMAIN, metadata=error.metadata
    )
    details: list[Message] = [info]
    if isinstance(error, ValidationFailed):
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field,
                        description=violation.detail,
                        reason=violation.error.upper(),
                    )
                    for violation in error.violations
                ]
            )
        )
    if error.retry_after_ms is not None:
        delay = Duration()
        delay.FromMilliseconds(error.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=error.code, message=error.message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status
