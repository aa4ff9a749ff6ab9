"""The errors of model actions; `hub.contract.errors` has the others and shows the whole tree."""

from hub.contract.errors import FailedPrecondition, Unknown
from llmhub.v1 import error_reason_pb2 as reasons


class ActionsDisabled(FailedPrecondition):
    """The hub's settings do not allow this model action."""

    reason = reasons.ERROR_REASON_ACTIONS_DISABLED


class ActionUnsupported(FailedPrecondition):
    """The endpoint's server or its sidecar has no way to carry out the action."""

    reason = reasons.ERROR_REASON_ACTION_UNSUPPORTED


class ActionInProgress(FailedPrecondition):
    """Another model action on the endpoint has not ended yet."""

    reason = reasons.ERROR_REASON_ACTION_IN_PROGRESS


class ActionRefused(FailedPrecondition):
    """The sidecar refused the action, and nothing has changed."""

    reason = reasons.ERROR_REASON_ACTION_REFUSED


class ActionFailed(FailedPrecondition):
    """The endpoint's server could not carry out the action."""

    reason = reasons.ERROR_REASON_ACTION_FAILED


class ActionOutcomeUnknown(Unknown):
    """The sidecar left or did not answer in time; the action may still be carried out."""

    reason = reasons.ERROR_REASON_ACTION_OUTCOME_UNKNOWN
