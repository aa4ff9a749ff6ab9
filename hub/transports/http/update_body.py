"""PATCH of an endpoint: the body's keys are the fields to change."""

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.service.handlers.manage_endpoints import UPDATABLE
from llmhub.v1.endpoint_pb2 import Endpoint

_PREFIX = "endpoint."


def update_of(id_: str, body: dict[str, object]) -> object:
    """The UpdateEndpointRequest that a body stands for, still as JSON.

    A key with null clears its field; "etag" makes the change conditional; unknown
    keys are ignored, as everywhere. Raises ValidationFailed for fields that cannot be
    changed.
    """
    changeable = ", ".join(UPDATABLE)
    violations = [
        FieldViolation(key, "invalid", f"cannot be changed; these can: {changeable}")
        for key in body
        if key in Endpoint.DESCRIPTOR.fields_by_name and key not in (*UPDATABLE, "id", "etag")
    ]
    if body.get("id", id_) != id_:
        violations.append(FieldViolation("id", "invalid", "is not the id in the path"))
    if violations:
        raise ValidationFailed(violations)
    endpoint = {key: value for key, value in body.items() if key in UPDATABLE}
    return {
        "endpoint": {**endpoint, "id": id_},
        "update_mask": list(endpoint),
        "etag": body.get("etag"),
    }


def in_terms_of_body(error: ValidationFailed) -> ValidationFailed:
    """The same error with the field paths of the body in place of the request's."""
    return ValidationFailed(
        [
            FieldViolation(
                violation.field.removeprefix(_PREFIX),
                violation.error,
                violation.detail,
                violation.value,
            )
            for violation in error.violations
        ]
    )
