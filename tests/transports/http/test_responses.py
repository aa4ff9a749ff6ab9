import json

import pytest

from hub.contract.errors import (
    EndpointNotFound,
    EtagMismatch,
    FieldViolation,
    HubError,
    InternalError,
    InvalidJson,
    InvalidToken,
    LimitReached,
    NotImplementedYet,
    RateLimited,
    RevisionCompacted,
    RoleForbidden,
    StoreUnavailable,
    TargetForbidden,
    TokenAgentMismatch,
    ValidationFailed,
)
from hub.transports.http.responses import error_response


def rendered(error: HubError) -> tuple[int, object]:
    response = error_response(error)
    assert response.content_type == "application/json"
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (
            InvalidToken("no"),
            401,
            {"error": "unauthorized", "hint": "provide Authorization: Bearer <token>"},
        ),
        (RoleForbidden("no"), 403, {"error": "forbidden"}),
        (TokenAgentMismatch("no"), 403, {"error": "forbidden"}),
        (EndpointNotFound("no"), 404, {"error": "endpoint_not_found"}),
        (InvalidJson("no"), 400, {"error": "invalid_json"}),
        (TargetForbidden("no"), 422, {"error": "target_forbidden", "detail": "no"}),
        (EtagMismatch("no"), 409, {"error": "etag_mismatch", "detail": "no"}),
        (RevisionCompacted("no"), 410, {"error": "revision_compacted", "detail": "no"}),
        (LimitReached("no"), 429, {"error": "limit_reached", "detail": "no"}),
        (NotImplementedYet("no"), 501, {"error": "not_implemented", "detail": "no"}),
        (StoreUnavailable("no"), 503, {"error": "store_unavailable", "detail": "no"}),
        (InternalError("no"), 500, {"error": "internal", "detail": "no"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HubError) else "",
)
def test_errors(error, status, body):
    assert rendered(error) == (status, body)


def test_violations_show_their_value_only_where_there_is_one():
    violations = [
        FieldViolation("host", "required", "is required"),
        FieldViolation("port", "wrong_type", "expected integer, got string", "9"),
    ]
    assert rendered(ValidationFailed(violations)) == (
        422,
        {
            "error": "validation_failed",
            "errors": [
                {"field": "host", "error": "required", "detail": "is required"},
                {
                    "field": "port",
                    "error": "wrong_type",
                    "detail": "expected integer, got string",
                    "value": "9",
                },
            ],
        },
    )


@pytest.mark.parametrize(("retry_after_ms", "header"), [(1, "1"), (1000, "1"), (1001, "2")])
def test_a_rate_limit(retry_after_ms, header):
    error = RateLimited("heavy", retry_after_ms)
    assert rendered(error) == (
        429,
        {"error": "rate_limited", "retry_after_ms": retry_after_ms, "tier": "heavy"},
    )
    assert error_response(error).headers["Retry-After"] == header


def test_401_names_its_scheme():
    assert error_response(InvalidToken("no")).headers["WWW-Authenticate"] == "Bearer"


def test_every_code_has_a_status():
    def leaves(kind):
        below = kind.__subclasses__()
        return [leaf for each in below for leaf in leaves(each)] if below else [kind]

    for kind in leaves(HubError):
        if kind not in (ValidationFailed, RateLimited):
            assert 400 <= rendered(kind("no"))[0] < 600
