"""Follows the store: puts its endpoints into the registry and has them probed."""

from hub.probes.asker import ProbeTarget
from hub.probes.engine import ProbeEngine
from hub.registry.state import Registry
from hub.service.records import SECRETS, decode_endpoint, decode_secret, name_of
from hub.stores.store import Entry
from llmhub.v1.endpoint_pb2 import ADMIN_STATE_DISABLED, BACKEND_UNSPECIFIED, Endpoint


class FleetFollower:
    """Keeps registry and probes in step with the records of endpoints and their secrets.

    A `hub.service.records.RecordConsumer` of "endpoints" and "secrets". While `starting`,
    the probes after the first are spread over the interval, so that endpoints first
    probed within the same seconds are not probed together forever.
    """

    def __init__(self, registry: Registry, probes: ProbeEngine) -> None:
        self._registry = registry
        self._probes = probes
        self._api_keys: dict[str, str] = {}
        self.starting = True

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        id_ = name_of(entry.key)
        if _is_secret(entry.key):
            self._api_keys[id_] = decode_secret(entry)
        else:
            self._registry.put_endpoint(decode_endpoint(entry))
        self._watch(id_)

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        id_ = name_of(key)
        if _is_secret(key):
            self._api_keys.pop(id_, None)
            self._watch(id_)
        else:
            self._registry.remove_endpoint(id_)
            self._probes.unwatch(id_)

    def _watch(self, id_: str) -> None:
        record = self._registry.get(id_)
        if record is None:
            return
        endpoint = record.message
        if endpoint.admin_state == ADMIN_STATE_DISABLED:
            self._probes.unwatch(id_)
        else:
            target = _target(endpoint, self._api_keys.get(id_))
            self._probes.watch(target, spread=self.starting)


def _is_secret(key: str) -> bool:
    return key.startswith(f"{SECRETS}/")


def _target(endpoint: Endpoint, api_key: str | None) -> ProbeTarget:
    pinned = BACKEND_UNSPECIFIED if endpoint.backend_detected else endpoint.backend
    return ProbeTarget(
        id=endpoint.id,
        scheme=endpoint.scheme,
        host=endpoint.host,
        port=endpoint.port,
        base_path=endpoint.base_path,
        backend=pinned,
        api_key=api_key,
    )
