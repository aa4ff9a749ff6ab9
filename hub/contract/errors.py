"""Domain errors, each with the code and the reason that callers see.

    HubError
    ├── Unauthenticated     InvalidToken, NotIdentified
    ├── PermissionDenied    RoleForbidden, ScopeForbidden, TokenAgentMismatch
    ├── InvalidArgument     ValidationFailed, InvalidJson, InvalidPageToken, TargetForbidden
    ├── NotFound            EndpointNotFound, ResourcesNotFound, SidecarNotFound, TokenNotFound,
    │                       ModelUnknown, ModelNotOnEndpoint, LeaseNotFound, AliasNotFound
    ├── FailedPrecondition  AlreadyIdentified, EndpointDisabled, EndpointOwned, ActionsDisabled,
    │                       ActionUnsupported, ActionInProgress, ActionRefused, ActionFailed
    ├── Aborted             EtagMismatch, ConnectionReplaced, Disconnected
    ├── OutOfRange          RevisionCompacted
    ├── ResourceExhausted   RateLimited, CooldownActive, TooManyViolations,
    │                       LimitReached, NoCapacity
    ├── Unavailable         NoHealthyEndpoint, StoreUnavailable, ShuttingDown, Overloaded
    ├── Unimplemented       NotImplementedYet
    ├── Unknown             ActionOutcomeUnknown
    └── Internal            InternalError

The middle level is the google.rpc code, the leaves are the reasons of `llmhub.v1.ErrorReason`.
Those whose names begin with "Action" are in `hub.contract.action_errors`.
Nothing here knows a transport: each transport renders an error from its code and reason.
"""

from dataclasses import dataclass
from typing import ClassVar

from google.rpc import code_pb2

from hub.contract.dialect.names import enum_word
from llmhub.v1 import error_reason_pb2 as reasons

ERROR_DOMAIN = "llmhub"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field of a request.

    `field` is a path such as "gpus[1].name", `error` one of the kinds that
    docs/protocol.md lists, `value` the offending value as the caller may see it
    (None for a missing or a secret one).
    """

    field: str
    error: str
    detail: str
    value: str | None = None
    known_types: tuple[str, ...] = ()


class HubError(Exception):
    """An error for a caller, with a reason that programs match on.

    `metadata` goes into google.rpc.ErrorInfo; `retry_after_ms` into RetryInfo.
    """

    code: ClassVar[int] = code_pb2.INTERNAL
    reason: ClassVar[int] = reasons.ERROR_REASON_INTERNAL

    def __init__(
        self,
        message: str,
        *,
        metadata: dict[str, str] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata or {}
        self.retry_after_ms = retry_after_ms

    @property
    def reason_name(self) -> str:
        """The reason without the enum's prefix, such as "ENDPOINT_NOT_FOUND"."""
        return enum_word(reasons.ErrorReason.DESCRIPTOR, self.reason).upper()

    @property
    def wire_code(self) -> str:
        """The code in the JSON dialect, such as "endpoint_not_found"."""
        return self.reason_name.lower()


class Unauthenticated(HubError):
    """The caller has not proved its identity."""

    code = code_pb2.UNAUTHENTICATED


class InvalidToken(Unauthenticated):
    """The token is missing, wrong, revoked or expired."""

    reason = reasons.ERROR_REASON_INVALID_TOKEN


class NotIdentified(Unauthenticated):
    """A frame came before `identify`."""

    reason = reasons.ERROR_REASON_NOT_IDENTIFIED


class PermissionDenied(HubError):
    """The caller is known but may not do this."""

    code = code_pb2.PERMISSION_DENIED


class RoleForbidden(PermissionDenied):
    """The caller's role may not call this."""

    reason = reasons.ERROR_REASON_ROLE_FORBIDDEN


class ScopeForbidden(PermissionDenied):
    """The token is limited to less than its role; `metadata["scope"]` names the limit."""

    reason = reasons.ERROR_REASON_SCOPE_FORBIDDEN


class TokenAgentMismatch(PermissionDenied):
    """The token is bound to another agent."""

    reason = reasons.ERROR_REASON_TOKEN_AGENT_MISMATCH


class InvalidArgument(HubError):
    """The request is invalid, whatever the state of the hub."""

    code = code_pb2.INVALID_ARGUMENT


class ValidationFailed(InvalidArgument):
    """Fields are missing, of the wrong type or out of bounds; `violations` names each."""

    reason = reasons.ERROR_REASON_VALIDATION_FAILED

    def __init__(self, violations: list[FieldViolation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.field}: {first.detail}{more}")
        self.violations = violations


class InvalidJson(InvalidArgument):
    """The input is not JSON."""

    reason = reasons.ERROR_REASON_INVALID_JSON


class InvalidPageToken(InvalidArgument):
    """The page token was not issued by this hub for this request."""

    reason = reasons.ERROR_REASON_INVALID_PAGE_TOKEN


class TargetForbidden(InvalidArgument):
    """The address may not be probed."""

    reason = reasons.ERROR_REASON_TARGET_FORBIDDEN


class NotFound(HubError):
    """Something that the request names does not exist."""

    code = code_pb2.NOT_FOUND


class EndpointNotFound(NotFound):
    """There is no endpoint with that id."""

    reason = reasons.ERROR_REASON_ENDPOINT_NOT_FOUND


class ResourcesNotFound(NotFound):
    """The agent has not reported recently."""

    reason = reasons.ERROR_REASON_RESOURCES_NOT_FOUND


class SidecarNotFound(NotFound):
    """No sidecar with that agent_id is connected."""

    reason = reasons.ERROR_REASON_SIDECAR_NOT_FOUND


class TokenNotFound(NotFound):
    """There is no token with that id."""

    reason = reasons.ERROR_REASON_TOKEN_NOT_FOUND


class ModelUnknown(NotFound):
    """No endpoint has that model."""

    reason = reasons.ERROR_REASON_MODEL_UNKNOWN


class ModelNotOnEndpoint(NotFound):
    """The endpoint does not have that model."""

    reason = reasons.ERROR_REASON_MODEL_NOT_ON_ENDPOINT


class LeaseNotFound(NotFound):
    """The lease has expired or never existed."""

    reason = reasons.ERROR_REASON_LEASE_NOT_FOUND


class AliasNotFound(NotFound):
    """There is no model alias with that name."""

    reason = reasons.ERROR_REASON_ALIAS_NOT_FOUND


class FailedPrecondition(HubError):
    """The request does not fit the current state, which the caller must change first."""

    code = code_pb2.FAILED_PRECONDITION


class AlreadyIdentified(FailedPrecondition):
    """The connection already speaks for another agent."""

    reason = reasons.ERROR_REASON_ALREADY_IDENTIFIED


class EndpointDisabled(FailedPrecondition):
    """The endpoint is disabled, so it is not probed."""

    reason = reasons.ERROR_REASON_ENDPOINT_DISABLED


class EndpointOwned(FailedPrecondition):
    """Another agent, which is connected, reports the endpoint."""

    reason = reasons.ERROR_REASON_ENDPOINT_OWNED


class Aborted(HubError):
    """Another call was faster; read again and retry."""

    code = code_pb2.ABORTED


class EtagMismatch(Aborted):
    """The endpoint has changed since its etag was read."""

    reason = reasons.ERROR_REASON_ETAG_MISMATCH


class ConnectionReplaced(Aborted):
    """Another connection of the same agent has taken this one's place."""

    reason = reasons.ERROR_REASON_CONNECTION_REPLACED


class Disconnected(Aborted):
    """An admin ended the connection."""

    reason = reasons.ERROR_REASON_DISCONNECTED


class OutOfRange(HubError):
    """The request is outside the range that the hub still has."""

    code = code_pb2.OUT_OF_RANGE


class RevisionCompacted(OutOfRange):
    """The revision is not in the hub's history: list again."""

    reason = reasons.ERROR_REASON_REVISION_COMPACTED


class ResourceExhausted(HubError):
    """A limit is reached."""

    code = code_pb2.RESOURCE_EXHAUSTED


class RateLimited(ResourceExhausted):
    """The caller has used up its limit for that tier; `retry_after_ms` says when to retry."""

    reason = reasons.ERROR_REASON_RATE_LIMITED

    def __init__(self, tier: str, retry_after_ms: int) -> None:
        super().__init__(
            f"rate limit of tier {tier} reached; retry in {retry_after_ms} ms",
            metadata={"tier": tier},
            retry_after_ms=retry_after_ms,
        )
        self.tier = tier


class CooldownActive(ResourceExhausted):
    """The agent misbehaved and may identify again later."""

    reason = reasons.ERROR_REASON_COOLDOWN_ACTIVE


class TooManyViolations(ResourceExhausted):
    """The connection sent too many invalid frames."""

    reason = reasons.ERROR_REASON_TOO_MANY_VIOLATIONS


class LimitReached(ResourceExhausted):
    """A limit of the registry is reached."""

    reason = reasons.ERROR_REASON_LIMIT_REACHED


class NoCapacity(ResourceExhausted):
    """Healthy endpoints have the model, but none meets the request's needs."""

    reason = reasons.ERROR_REASON_NO_CAPACITY


class Unavailable(HubError):
    """The same request may succeed later."""

    code = code_pb2.UNAVAILABLE


class NoHealthyEndpoint(Unavailable):
    """Endpoints have the model, but none is healthy and enabled."""

    reason = reasons.ERROR_REASON_NO_HEALTHY_ENDPOINT


class StoreUnavailable(Unavailable):
    """The store cannot commit the change now."""

    reason = reasons.ERROR_REASON_STORE_UNAVAILABLE


class ShuttingDown(Unavailable):
    """The hub is stopping."""

    reason = reasons.ERROR_REASON_SHUTTING_DOWN


class Overloaded(Unavailable):
    """The hub has no room for this now; `retry_after_ms` says when to try again."""

    reason = reasons.ERROR_REASON_OVERLOADED


class Unimplemented(HubError):
    """The hub does not support this."""

    code = code_pb2.UNIMPLEMENTED


class NotImplementedYet(Unimplemented):
    """A later version of the hub will support this."""

    reason = reasons.ERROR_REASON_NOT_IMPLEMENTED


class Unknown(HubError):
    """The request may have taken effect, or may still do so."""

    code = code_pb2.UNKNOWN


class Internal(HubError):
    """The hub is at fault."""

    code = code_pb2.INTERNAL


class InternalError(Internal):
    """An unexpected error; the log has the details under the request's id."""

    reason = reasons.ERROR_REASON_INTERNAL
