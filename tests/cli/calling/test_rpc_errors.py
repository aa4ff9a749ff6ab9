import grpc
import pytest

from hub.cli.calling.rpc_errors import command_failed
from hub.cli.failures import CommandFailed, ExitCode
from hub.client import CallFailed, Violation


def failed(code: grpc.StatusCode, message: str = "no", **details: object) -> CommandFailed:
    return command_failed(CallFailed(code, message, **details), "hub:1", 5.0)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, ExitCode.NOT_AUTHORISED),
        (grpc.StatusCode.PERMISSION_DENIED, ExitCode.NOT_AUTHORISED),
        (grpc.StatusCode.NOT_FOUND, ExitCode.NOT_FOUND),
        (grpc.StatusCode.INVALID_ARGUMENT, ExitCode.INVALID),
        (grpc.StatusCode.UNAVAILABLE, ExitCode.FAILED),
        (grpc.StatusCode.ABORTED, ExitCode.FAILED),
    ],
)
def test_what_the_hub_refuses_has_its_reason(code: grpc.StatusCode, exit_code: ExitCode) -> None:
    failure = failed(code, reason="SOME_REASON")
    assert (failure.code, failure.message) == (exit_code, "no [SOME_REASON]")


def test_every_violation_is_named() -> None:
    failure = failed(
        grpc.StatusCode.INVALID_ARGUMENT,
        reason="VALIDATION_FAILED",
        violations=[
            Violation('labels["bad"]', "exceeds maximum length of 256", "TOO_LONG"),
            Violation("name", "must have no\ncontrol characters", "INVALID"),
        ],
    )
    assert failure.message == (
        'labels["bad"]: exceeds maximum length of 256; '
        "name: must have no\\ncontrol characters [VALIDATION_FAILED]"
    )


def test_a_rate_limit_says_when_to_come_back() -> None:
    failure = failed(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="RATE_LIMITED", retry_after_s=1.5)
    assert failure.message == "no; retry in 1.5 s [RATE_LIMITED]"
    assert (failure.found, failure.advice) == ("no [RATE_LIMITED]", "retry in 1.5 s")


def test_a_hub_that_is_not_reached() -> None:
    gone = failed(grpc.StatusCode.UNAVAILABLE)
    assert (gone.code, gone.found) == (ExitCode.UNREACHABLE, "no hub answers at hub:1")
    late = failed(grpc.StatusCode.DEADLINE_EXCEEDED)
    assert late.message == "the hub at hub:1 did not answer within 5 s"
    other = failed(grpc.StatusCode.UNKNOWN, "")
    assert other.message == "the hub gave no reason [UNKNOWN]"
