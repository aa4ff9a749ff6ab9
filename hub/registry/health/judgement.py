"""Fleet health: what each observation means, given all the others. Pure.

observation ─► preservation   may a healthy endpoint become unhealthy now?
            ─► status         status, facts, fault
            ─► damping        does its outcome change too often?
            ─► load times     how long do its models take to load?
"""

from collections.abc import Sequence
from typing import Final

from hub.base.settings import FlappingSettings, PreservationSettings, ProbeSettings
from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.health import preservation, status
from hub.registry.health.flapping import Damper
from hub.registry.health.load_times import LoadTimes
from hub.registry.health.observed_facts import merged
from hub.registry.health.preservation import Preservation
from hub.registry.model_bytes import bounded
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import (
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
    Model,
    SidecarView,
)
from llmhub.v1.frame_pb2 import ReportEndpointRequest

_PROBES: Final = ProbeSettings()
_FLAPPING: Final = FlappingSettings()
_PRESERVATION: Final = PreservationSettings()


class FleetHealth:
    """Judges observations, and stores what the messages of endpoints do not contain."""

    def __init__(
        self,
        probes: ProbeSettings = _PROBES,
        flapping: FlappingSettings = _FLAPPING,
        preservation: PreservationSettings = _PRESERVATION,
    ) -> None:
        self._unhealthy_after = probes.unhealthy_after
        self._damper = Damper(
            changes=flapping.changes,
            window_ms=round(flapping.window_s * 1000),
            hold_ms=round(flapping.hold_s * 1000),
        )
        self._preservation = Preservation(
            share=preservation.share,
            least=preservation.min_endpoints,
            interval_ms=round(probes.interval_s * 1000),
            confirm_ms=round(preservation.confirm_s * 1000),
        )
        self._load_times = LoadTimes()
        # The models that each endpoint's last probe returned. If the next probe returns the
        # same tuple, nothing has changed and nothing needs to be compared.
        self._models: dict[str, Sequence[Model]] = {}
        # A hash of what each endpoint's sidecar reported last.
        self._reported: dict[str, int] = {}

    @property
    def preservation_state(self) -> preservation.State:
        """Whether the hub distrusts its probes."""
        return self._preservation.state

    @property
    def load_times(self) -> LoadTimes:
        """The learned load times."""
        return self._load_times

    @property
    def freezes(self) -> int:
        """How often the hub has begun to distrust its probes."""
        return self._preservation.freezes

    def preservation(self, healthy: int, now_ms: int) -> preservation.PreservationReport:
        """The current state of self-preservation, with `healthy` healthy endpoints."""
        return self._preservation.report(healthy, now_ms)

    def observe(self, endpoint: Endpoint, seen: Observation, healthy: int) -> bool:
        """Writes the outcome of a probe into an endpoint; `healthy` counts the healthy ones.

        Returns whether the change is an event for watchers.
        """
        id_, now_ms = endpoint.id, seen.checked_at_ms
        was_healthy = endpoint.status == STATUS_HEALTHY
        had_failed = bool(endpoint.last_error)
        # A check before the hub's start does not show how long something has lasted, because
        # the hub did not check in between.
        before_ms = (
            to_ms(endpoint.last_checked_at)
            if endpoint.HasField("last_checked_at") and not endpoint.provenance.status.restored
            else None
        )
        if not seen.error:
            self._preservation.succeeded(id_)
        elif was_healthy:
            self._preservation.failed(id_, now_ms)
        # The endpoint's own sidecar and the hub's probe agree, which counts as two failures.
        is_confirmed = not seen.answered and status.is_reported_down(endpoint)
        changed = status.observe(
            endpoint,
            seen,
            models=self._changed_models(id_, seen, before_ms),
            unhealthy_after=1 if is_confirmed else self._unhealthy_after,
            may_fall=self._preservation.may_fall(id_, healthy, now_ms, is_confirmed=is_confirmed),
        )
        if was_healthy and endpoint.status == STATUS_UNHEALTHY:
            self._preservation.fell(id_, now_ms)
        elif was_healthy and endpoint.consecutive_failures >= self._unhealthy_after:
            self._preservation.wait(id_)
        outcome_changed = before_ms is not None and bool(seen.error) != had_failed
        return self._mark_flapping(endpoint, now_ms, outcome_changed=outcome_changed) or changed

    def next_to_fall(self, healthy: int, now_ms: int) -> str | None:
        """An endpoint to make unhealthy now that other probes have succeeded, or None.

        It failed often enough before, but the fault might then have been the hub's.
        """
        return self._preservation.next_to_fall(healthy, now_ms)

    def fall(self, endpoint: Endpoint, now_ms: int) -> bool:
        """Makes an endpoint unhealthy. Returns True: it is an event for watchers."""
        status.fall(endpoint, now_ms)
        self._preservation.fell(endpoint.id, now_ms)
        return True

    def apply_report(
        self,
        endpoint: Endpoint,
        agent_id: str,
        report: ReportEndpointRequest,
        ends_ms: int,
        now_ms: int,
    ) -> bool:
        """Writes a sidecar's report, valid until `ends_ms`, into an endpoint; see `observe`."""
        view = SidecarView(agent_id=agent_id, error=report.error, version=report.version)
        if report.HasField("reachable"):
            view.reachable = report.reachable
        view.reported_at.CopyFrom(to_timestamp(now_ms))
        view.expires_at.CopyFrom(to_timestamp(ends_ms))
        for model in report.models:
            if model.HasField("expected_load"):
                took_ms = model.expected_load.ToMilliseconds()
                self._load_times.measured(endpoint.id, model.name, took_ms)
        models = None
        if report.models:
            is_all = not report.models_omitted
            known = bounded(merged(endpoint.models, report.models, is_all=is_all))
            models = self._with_load_times(endpoint.id, known)
        # The next successful probe must replace these models, even with ones it saw before.
        self._models.pop(endpoint.id, None)
        return status.apply_view(endpoint, view, backend=report.backend, models=models)

    def is_new_report(self, id_: str, report: ReportEndpointRequest) -> bool:
        """Whether a sidecar's report of an endpoint differs from its last one."""
        reported = hash(
            (
                report.HasField("reachable"),
                report.reachable,
                report.error,
                report.version,
                report.backend,
                tuple(sorted((model.name, model.state) for model in report.models)),
            )
        )
        differs = self._reported.get(id_) != reported
        self._reported[id_] = reported
        return differs

    def forget_report(self, id_: str) -> None:
        """Forgets a sidecar's report of an endpoint, which has expired."""
        self._reported.pop(id_, None)

    def forget_models(self, id_: str) -> None:
        """Forgets the models of the last probe, because the endpoint's models have changed."""
        self._models.pop(id_, None)

    def forget(self, id_: str) -> None:
        """Forgets an endpoint that was removed or is now a different server."""
        self._damper.forget(id_)
        self._preservation.recovered(id_)
        self._load_times.forget(id_)
        self._models.pop(id_, None)
        self._reported.pop(id_, None)

    def pause(self, id_: str) -> None:
        """Stops counting an endpoint as failing, because it is no longer probed."""
        self._preservation.recovered(id_)

    def _changed_models(
        self, id_: str, seen: Observation, before_ms: int | None
    ) -> Sequence[Model] | None:
        """The models to write into the endpoint; None if it already shows them."""
        models = seen.models
        known = self._models.get(id_)
        if models is not None and models is known:
            return None
        ended = self._load_times.observe(
            id_,
            models or (),
            seen.checked_at_ms,
            before_ms=before_ms,
            server_loads=seen.is_loading and bool(seen.error),
        )
        if models is None:
            return None
        if models == known and not ended:
            return None
        self._models[id_] = models
        return self._with_load_times(id_, models)

    def _with_load_times(self, id_: str, models: Sequence[Model]) -> Sequence[Model]:
        if not self._load_times:
            return models
        return [self._with_load_time(id_, model) for model in models]

    def _with_load_time(self, id_: str, model: Model) -> Model:
        expected_ms = self._load_times.expected_ms(id_, model.name)
        if expected_ms is None:
            return model
        learned = Model()
        # The message belongs to the probe, which may return it again.
        learned.CopyFrom(model)
        learned.expected_load.FromMilliseconds(expected_ms)
        return learned

    def _mark_flapping(self, endpoint: Endpoint, now_ms: int, *, outcome_changed: bool) -> bool:
        mark = self._damper.judge(endpoint.id, now_ms, changed=outcome_changed)
        was_flapping = endpoint.HasField("flapping")
        if mark is None:
            endpoint.ClearField("flapping")
            return was_flapping
        trusted_at = to_timestamp(mark.trusted_at_ms)
        endpoint.flapping.reason = mark.reason
        endpoint.flapping.trusted_at.CopyFrom(trusted_at)
        return outcome_changed or not was_flapping
