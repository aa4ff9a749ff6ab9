"""What a failed call means for a command: one line and an exit code."""

import grpc
from google.rpc import error_details_pb2, status_pb2

from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable
from hub.contract.errors import ERROR_DOMAIN

_DETAILS_KEY = "grpc-status-details-bin"

_EXIT_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.NOT_AUTHORISED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.NOT_AUTHORISED,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
}


def from_rpc_error(error: grpc.RpcError, address: str, timeout_s: float) -> CommandFailed:
    """Says in one line what went wrong between here and the hub at `address`."""
    # Only calls raise RpcError here, and theirs are calls too; its type does not say so.
    if not isinstance(error, grpc.Call):
        return CommandFailed(printable(str(error)))
    code = error.code()
    info, violations, retry_ms = _details(error)
    if info is None:
        if code == grpc.StatusCode.UNAVAILABLE:
            return CommandFailed(
                f"no hub answers at {address}; start one with `llm-hub serve`, or name another "
                "with --hub or LLM_HUB_ADDRESS; or this is no gRPC door (127.0.0.1:50051 unless "
                "set otherwise)",
                ExitCode.UNREACHABLE,
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return CommandFailed(
                f"the hub at {address} did not answer within {timeout_s:g} s", ExitCode.UNREACHABLE
            )
    fields = "; ".join(f"{each.field}: {each.description}" for each in violations)
    message = fields or error.details() or "the hub gave no reason"
    if retry_ms:
        message += f"; retry in {retry_ms / 1000:g} s"
    reason = info.reason if info is not None else code.name
    return CommandFailed(
        printable(f"{message} [{reason}]"),
        _EXIT_CODES.get(code, ExitCode.FAILED),
        reason=reason,
        metadata=info.metadata if info is not None else None,
    )


def _details(
    error: grpc.Call,
) -> tuple[
    error_details_pb2.ErrorInfo | None, list[error_details_pb2.BadRequest.FieldViolation], int
]:
    """The hub's ErrorInfo, the field violations and the delay of RetryInfo in milliseconds."""
    info, violations, retry_ms = None, [], 0
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS_KEY:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            known = error_details_pb2.ErrorInfo()
            if detail.Unpack(known) and known.domain == ERROR_DOMAIN:
                info = known
            request = error_details_pb2.BadRequest()
            if detail.Unpack(request):
                violations = list(request.field_violations)
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(retry):
                retry_ms = retry.retry_delay.ToMilliseconds()
    return info, violations, retry_ms
