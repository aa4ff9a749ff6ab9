"""The fleet's health: what each observation means in the light of all others. Pure.

observation ─► preservation   may a healthy endpoint fall now?
            ─► liveness       status, facts, fault
            ─► damping        does its outcome change too often?
            ─► cold_start     how long do its models load?
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.base.timestamps import to_ms, to_timestamp
from hub.registry.health import preservation, status
from hub.registry.health.flapping import Damper
from hub.registry.health.load_times import LoadTimes
from hub.registry.health.preservation import Preservation
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import (
    STATUS_HEALTHY,
    STATUS_UNHEALTHY,
    Endpoint,
    Model,
    SidecarView,
)
from llmhub.v1.frame_pb2 import ReportEndpointRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """When the fleet's probes are believed; times in milliseconds.

    See the settings `probes`, `flapping` and `preservation` (docs/configuration.md).
    """

    unhealthy_after: int = 2
    interval_ms: int = 30_000
    flap_changes: int = 6
    flap_window_ms: int = 600_000
    flap_hold_ms: int = 300_000
    preserve_share: float = 0.5
    preserve_least: int = 5
    preserve_confirm_ms: int = 300_000


class Health:
    """Judges observations; knows of each endpoint what its message does not say."""

    def __init__(self, settings: HealthSettings) -> None:
        self._unhealthy_after = settings.unhealthy_after
        self._damper = Damper(
            changes=settings.flap_changes,
            window_ms=settings.flap_window_ms,
            hold_ms=settings.flap_hold_ms,
        )
        self._preservation = Preservation(
            share=settings.preserve_share,
            least=settings.preserve_least,
            interval_ms=settings.interval_ms,
            confirm_ms=settings.preserve_confirm_ms,
        )
        self._load_times = LoadTimes()
        # The models as each endpoint's probe saw them last: the same tuple means that
        # nothing has changed, and nothing need be compared.
        self._models: dict[str, Sequence[Model]] = {}
        # What each endpoint's sidecar reported last.
        self._reported: dict[str, int] = {}

    @property
    def preservation_state(self) -> preservation.State:
        """Whether the hub mistrusts what its probes show."""
        return self._preservation.state

    @property
    def freezes(self) -> int:
        """How often the hub has begun to mistrust its probes."""
        return self._preservation.freezes

    def preservation(self, healthy: int, now_ms: int) -> preservation.Report:
        """How things stand now, of so many endpoints that are healthy."""
        return self._preservation.report(healthy, now_ms)

    def observe(self, endpoint: Endpoint, seen: Observation, healthy: int) -> bool:
        """Writes what a probe saw into an endpoint, of a fleet with so many healthy.

        Returns whether watchers care.
        """
        id_, now_ms = endpoint.id, seen.checked_at_ms
        was_healthy = endpoint.status == STATUS_HEALTHY
        had_failed = bool(endpoint.last_error)
        before_ms = (
            to_ms(endpoint.last_checked_at) if endpoint.HasField("last_checked_at") else None
        )
        if not seen.error:
            self._preservation.succeeded(id_)
        elif was_healthy:
            self._preservation.failed(id_, now_ms)
        # The endpoint's own sidecar and the hub's probe agree: that is two misses.
        is_confirmed = not seen.answered and status.is_reported_down(endpoint)
        changed = status.observe(
            endpoint,
            seen,
            models=self._news_of_models(id_, seen, before_ms),
            unhealthy_after=1 if is_confirmed else self._unhealthy_after,
            may_fall=self._preservation.may_fall(id_, healthy, now_ms, is_confirmed=is_confirmed),
        )
        if was_healthy and endpoint.status == STATUS_UNHEALTHY:
            self._preservation.fell(id_, now_ms)
        elif was_healthy and endpoint.consecutive_failures >= self._unhealthy_after:
            self._preservation.wait(id_)
        turned = before_ms is not None and bool(seen.error) != had_failed
        return self._mark_flapping(endpoint, now_ms, turned=turned) or changed

    def next_to_fall(self, healthy: int, now_ms: int) -> str | None:
        """An endpoint that becomes unhealthy now, as others are seen to be well; or None.

        It has missed often enough before, when the fault might have been the hub's.
        """
        return self._preservation.next_to_fall(healthy, now_ms)

    def fall(self, endpoint: Endpoint, now_ms: int) -> None:
        """Writes into an endpoint that it is unhealthy."""
        status.fall(endpoint, now_ms)
        self._preservation.fell(endpoint.id, now_ms)

    def see(
        self,
        endpoint: Endpoint,
        agent_id: str,
        report: ReportEndpointRequest,
        ends_ms: int,
        now_ms: int,
    ) -> bool:
        """Writes what a sidecar sees until `ends_ms` into an endpoint; as `observe`."""
        view = SidecarView(agent_id=agent_id, error=report.error, version=report.version)
        if report.HasField("reachable"):
            view.reachable = report.reachable
        view.reported_at.CopyFrom(to_timestamp(now_ms))
        view.expires_at.CopyFrom(to_timestamp(ends_ms))
        for model in report.models:
            if model.HasField("expected_load"):
                took_ms = model.expected_load.ToMilliseconds()
                self._load_times.told(endpoint.id, model.name, took_ms)
        models = None
        if report.models:
            first = {model.name: model for model in reversed(report.models)}
            models = self._with_load_times(endpoint.id, [first[name] for name in sorted(first)])
        # The next probe that succeeds writes its own models over these.
        self._models.pop(endpoint.id, None)
        return status.see(endpoint, view, backend=report.backend, models=models)

    def is_news(self, id_: str, report: ReportEndpointRequest) -> bool:
        """Whether a sidecar reports anything else of an endpoint than the last time."""
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
        is_news = self._reported.get(id_) != reported
        self._reported[id_] = reported
        return is_news

    def forget_report(self, id_: str) -> None:
        """Forgets what a sidecar reported of an endpoint, as its time is over."""
        self._reported.pop(id_, None)

    def forget_models(self, id_: str) -> None:
        """Forgets what the last probe saw of the models: the endpoint shows others now."""
        self._models.pop(id_, None)

    def forget(self, id_: str) -> None:
        """Forgets an endpoint that is gone, or is another server from now on."""
        self._damper.forget(id_)
        self._preservation.recovered(id_)
        self._load_times.forget(id_)
        self._models.pop(id_, None)
        self._reported.pop(id_, None)

    def pause(self, id_: str) -> None:
        """Takes notice that an endpoint is not probed any more: it fails no longer."""
        self._preservation.recovered(id_)

    def _news_of_models(
        self, id_: str, seen: Observation, before_ms: int | None
    ) -> Sequence[Model] | None:
        """The models to write into the endpoint; None where they are there already."""
        models = seen.models
        known = self._models.get(id_)
        if models is not None and models is known:
            return None
        ended = self._load_times.looked(
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
        # What a probe saw belongs to the probe, which may show it again.
        learned.CopyFrom(model)
        learned.expected_load.FromMilliseconds(expected_ms)
        return learned

    def _mark_flapping(self, endpoint: Endpoint, now_ms: int, *, turned: bool) -> bool:
        verdict = self._damper.judge(endpoint.id, now_ms, changed=turned)
        was_flapping = endpoint.HasField("flapping")
        if verdict is None:
            endpoint.ClearField("flapping")
            return was_flapping
        trusted_at = to_timestamp(verdict.trusted_at_ms)
        endpoint.flapping.reason = verdict.reason
        endpoint.flapping.trusted_at.CopyFrom(trusted_at)
        return turned or not was_flapping
