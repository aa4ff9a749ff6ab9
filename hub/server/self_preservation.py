"""Self-preservation as people see it: in GetServerInfo, /readyz and the log."""

from typing import Final

import structlog

from hub.base.timestamps import to_timestamp
from hub.registry.health.preservation import PreservationReport, State
from hub.registry.state import Registry
from llmhub.v1.admin_service_pb2 import (
    PRESERVATION_STATE_CONFIRMED,
    PRESERVATION_STATE_FROZEN,
    PRESERVATION_STATE_TRUSTING,
    PreservationState,
    SelfPreservation,
)

log = structlog.get_logger()

_STATES: Final[dict[State, PreservationState]] = {
    State.TRUSTING: PRESERVATION_STATE_TRUSTING,
    State.FROZEN: PRESERVATION_STATE_FROZEN,
    State.CONFIRMED: PRESERVATION_STATE_CONFIRMED,
}


def self_preservation(registry: Registry, now_ms: int) -> SelfPreservation:
    """The state that GetServerInfo returns."""
    report = registry.health.preservation(registry.healthy_count, now_ms)
    shown = SelfPreservation(
        state=_STATES[report.state],
        failing_count=report.failing,
        base_count=report.base,
        freeze_count=report.freezes,
    )
    if report.since_ms is not None:
        shown.since.CopyFrom(to_timestamp(report.since_ms))
    if report.confirmed_at_ms is not None:
        shown.confirmed_at.CopyFrom(to_timestamp(report.confirmed_at_ms))
    return shown


def mistrust(registry: Registry, now_ms: int) -> str | None:
    """Why the hub doubts what its probes see, in words for people; None if it does not."""
    report = registry.health.preservation(registry.healthy_count, now_ms)
    return _sentence(report) if report.state is State.FROZEN else None


def log_preservation(registry: Registry, now_ms: int) -> None:
    """Logs that the hub has changed its judgement of what its probes see."""
    report = registry.health.preservation(registry.healthy_count, now_ms)
    figures = {"failing": report.failing, "of": report.base}
    match registry.health.preservation_state:
        case State.FROZEN:
            log.warning("self_preservation_frozen", why=_sentence(report), **figures)
        case State.CONFIRMED:
            log.warning("self_preservation_confirmed", **figures)
        case State.TRUSTING:
            log.info("self_preservation_over", **figures)


def _sentence(report: PreservationReport) -> str:
    return (
        f"{report.failing} of {report.base} healthy endpoints fail at once: more likely the "
        "hub's fault than theirs, so none becomes unhealthy until probes succeed again or "
        "the failures have lasted"
    )
