"""What a failed call means for a command: one line and an exit code."""

import grpc

from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable
from hub.client import CallFailed
from hub.client.hub_address import DEFAULT_ADDRESS

_EXIT_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.NOT_AUTHORISED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.NOT_AUTHORISED,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
}


def command_failed(failed: CallFailed, address: str, timeout_s: float) -> CommandFailed:
    """Says in one line what went wrong between here and the hub at `address`."""
    if not failed.reason:
        if failed.code is grpc.StatusCode.UNAVAILABLE:
            return CommandFailed(
                f"no hub answers at {address}",
                ExitCode.UNREACHABLE,
                advice="start one with `llm-hub serve`, or name another with --hub or "
                "LLM_HUB_ADDRESS; or this is no gRPC port of a hub "
                f"({DEFAULT_ADDRESS} unless set otherwise)",
            )
        if failed.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CommandFailed(
                f"the hub at {address} did not answer within {timeout_s:g} s", ExitCode.UNREACHABLE
            )
    fields = "; ".join(f"{each.field}: {each.description}" for each in failed.violations)
    return CommandFailed(
        printable(fields or failed.message or "the hub gave no reason"),
        _EXIT_CODES.get(failed.code, ExitCode.FAILED),
        advice=f"retry in {failed.retry_after_s:g} s" if failed.retry_after_s else "",
        reason=printable(failed.reason or failed.code.name),
    )
