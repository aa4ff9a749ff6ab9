import pytest

from hub.contract.dialect.names import enum_word
from hub.registry.outcomes.http_results import result_of_status
from llmhub.v1.registry_service_pb2 import OutcomeResult


@pytest.mark.parametrize(
    ("status", "result"),
    [
        *((200, "ok"), (204, "ok"), (304, "ok")),
        *((400, "request_rejected"), (413, "request_rejected"), (422, "request_rejected")),
        *((401, "refused"), (403, "refused"), (404, "refused")),
        *((408, "timed_out"), (504, "timed_out"), (429, "overloaded")),
        *((500, "server_error"), (503, "server_error"), (599, "server_error")),
    ],
)
def test_a_status_has_its_result(status: int, result: str) -> None:
    assert enum_word(OutcomeResult.DESCRIPTOR, result_of_status(status)) == result
