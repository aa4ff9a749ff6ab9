"""What an HTTP status of an inference server means as the result of a request. Pure."""

from typing import Final

from llmhub.v1.registry_service_pb2 import (
    OUTCOME_RESULT_OK,
    OUTCOME_RESULT_OVERLOADED,
    OUTCOME_RESULT_REFUSED,
    OUTCOME_RESULT_REQUEST_REJECTED,
    OUTCOME_RESULT_SERVER_ERROR,
    OUTCOME_RESULT_TIMED_OUT,
    OutcomeResult,
)

_RESULTS: Final = {
    # The hub chose the server for its model, so a missing model or key is the server's fault.
    **dict.fromkeys((401, 403, 404), OUTCOME_RESULT_REFUSED),
    **dict.fromkeys((408, 504), OUTCOME_RESULT_TIMED_OUT),
    429: OUTCOME_RESULT_OVERLOADED,
}


def result_of_status(status: int) -> OutcomeResult:
    """The result of a request that was answered with this status."""
    if status in _RESULTS:
        return _RESULTS[status]
    if status >= 500:
        return OUTCOME_RESULT_SERVER_ERROR
    return OUTCOME_RESULT_REQUEST_REJECTED if status >= 400 else OUTCOME_RESULT_OK
