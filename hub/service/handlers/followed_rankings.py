"""The rankings of a registry's endpoints, updated with the registry and the leases."""

from collections.abc import Callable, Collection
from typing import Final

from hub.registry.history.ring import Follower
from hub.registry.selection.kept_rankings import Kept, Rankings
from hub.registry.selection.leases import Leases
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import Endpoint
from llmhub.v1.registry_service_pb2 import SelectEndpointRequest
from llmhub.v1.resources_pb2 import HostResources, VramAccount

_READ_AT_ONCE: Final = 10_000


class FollowedRankings:
    """The rankings, and the leases that they count."""

    def __init__(
        self,
        registry: Registry,
        *,
        max_leases: int,
        max_leases_per_token: int,
    ) -> None:
        self._registry = registry
        self._lease_listener: Callable[[], None] | None = None
        self.leases = Leases(
            max_leases=max_leases,
            max_per_owner=max_leases_per_token,
            on_change=self._leases_changed,
        )
        self._rankings = Rankings(self, self._candidates)
        self._events = Follower(registry.ring, registry.revision)
        self._checks = Follower(registry.checks, registry.revision)
        self._reports = Follower(registry.resources, registry.revision)
        self._claims = Follower(registry.claims, registry.revision)
        self._seen = registry.revision

    # The facts that rankings use, see `hub.registry.selection.ranking.FleetView`.

    def endpoint(self, id_: str) -> Endpoint | None:
        """See `FleetView`."""
        record = self._registry.get(id_)
        return record.message if record is not None else None

    def resources(self, agent_id: str) -> HostResources | None:
        """See `FleetView`."""
        record = self._registry.resources.get(agent_id)
        return record.message if record is not None else None

    def vram(self, agent_id: str) -> VramAccount:
        """See `FleetView`."""
        return self._registry.vram(agent_id).message

    def in_flight(self, id_: str) -> int:
        """See `FleetView`."""
        ids = self._registry.addresses_of_server(id_)
        return sum(map(self.leases.in_flight, ids))

    def on_lease_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after the number of an endpoint's leases has changed."""
        self._lease_listener = listener

    # Rankings.

    def kept(
        self,
        request: SelectEndpointRequest,
        now_ms: int,
        admit: Callable[[int], None] = lambda _candidates: None,
    ) -> Kept:
        """The ranking for a request's criteria, with every change applied.

        See `Rankings.kept` for `admit`.
        """
        self._follow(now_ms)
        alias = self._registry.aliases.get(request.model)
        return self._rankings.kept(
            request,
            alias.message if alias is not None else None,
            alias.revision if alias is not None else 0,
            admit,
        )

    def _follow(self, now_ms: int) -> None:
        """Applies the changes since the last call to the rankings."""
        registry = self._registry
        registry.expire(now_ms)
        self.leases.expire(now_ms)
        if self._seen == registry.revision:
            return
        self._seen = registry.revision
        changed = self._changed() if self._rankings else None
        if changed is not None:
            self._rankings.touch(changed)
            return
        self._rankings.touch_all()
        for follower in (self._events, self._checks, self._reports, self._claims):
            follower.go_to(registry.revision)

    def _changed(self) -> set[str] | None:
        """The endpoints with changes; None if any endpoint may have changed."""
        events = self._events.take(_READ_AT_ONCE)
        checks, reports, claims = self._checks.take(), self._reports.take(), self._claims.take()
        if checks is None or reports is None or claims is None or events is None:
            return None
        if len(events) == _READ_AT_ONCE:
            return None
        changed = {event.id for event in events}
        changed.update(check.key for check in checks)
        # Memory that one server claims is not available to other servers on the host.
        hosts = {report.key for report in reports} | {claim.key for claim in claims}
        changed.update(*map(self._registry.of_agent, hosts))
        # An endpoint counts the leases of all addresses of its server.
        changed.update(*map(self._registry.addresses_of_server, [*changed]))
        return changed

    def _leases_changed(self, id_: str) -> None:
        for each in self._registry.addresses_of_server(id_):
            self._rankings.touch_leases(each)
        if self._lease_listener is not None:
            self._lease_listener()

    def _candidates(self, model: str | None) -> Collection[str]:
        if model is not None:
            return self._registry.model_index.ids_meant(model)
        return [record.message.id for record in self._registry.endpoints()]
