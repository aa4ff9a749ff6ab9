import orjson
import pytest

from hub.contract import errors
from hub.transports.grpc.picker.error_bodies import Refusal, refusal


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_s"),
    [
        (errors.ModelUnknown("x"), 404, "model_not_found", None),
        (errors.NoHealthyEndpoint("x", retry_after_ms=4_100), 503, "no_healthy_endpoint", 5),
        (errors.NoHealthyEndpoint("x"), 503, "no_healthy_endpoint", 1),
        (errors.NoCapacity("x"), 429, "no_capacity", 1),
        (errors.RateLimited("normal", 1), 429, "rate_limited", 1),
        (errors.LimitReached("x"), 429, "limit_reached", None),
        (errors.InvalidToken("x"), 401, "invalid_api_key", None),
        (errors.ScopeForbidden("x"), 403, "scope_forbidden", None),
        (errors.Overloaded("x", retry_after_ms=5_000), 503, "overloaded", 5),
        (errors.InternalError("x"), 500, "internal", None),
    ],
)
def test_domain_errors_become_statuses(error, status, code, retry_s):
    found = refusal(error)
    assert (found.status, found.code, found.retry_after_s) == (status, code, retry_s)


def test_bodies_have_the_shape_of_their_api():
    found = Refusal(400, "code", "what is wrong", "model")
    assert orjson.loads(found.body(is_ollama=True)) == {"error": "what is wrong"}
    assert orjson.loads(found.body(is_ollama=False))["error"] == {
        "message": "what is wrong",
        "type": "invalid_request_error",
        "param": "model",
        "code": "code",
    }
