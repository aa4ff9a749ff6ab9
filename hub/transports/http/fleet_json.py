"""The registry's answers in the JSON dialect, assembled from cached fragments."""

import orjson

from hub.contract.dialect.encode import to_json_bytes
from hub.contract.errors import EndpointNotFound
from hub.registry.state import EndpointRecord, Registry


class HttpViews:
    """Renders the fleet; each endpoint is encoded once per change of it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._endpoints = b'{"endpoints":[]}'
        self._endpoints_revision: int | None = None
        self._snapshot = b""
        self._snapshot_revision: int | None = None

    def endpoint(self, id_: str) -> bytes:
        """One endpoint. Raises EndpointNotFound."""
        record = self._registry.get(id_)
        if record is None:
            raise EndpointNotFound(f"there is no endpoint {id_}", metadata={"id": id_})
        return _encoded(record)

    def endpoints(self) -> bytes:
        """`{"endpoints": [...]}`, sorted by id."""
        registry = self._registry
        if self._endpoints_revision != registry.endpoints_revision:
            records = registry.endpoints()
            joined = b",".join(_encoded(record) for record in records)
            # Kept whole: ten thousand endpoints are 20 MB, and a copy is felt.
            self._endpoints = b'{"endpoints":[%b]}' % joined
            self._endpoints_revision = registry.endpoints_revision
        return self._endpoints

    def snapshot(self, now_ms: int) -> bytes:
        """Endpoints, resources and VRAM by agent_id, fleet_models and the revision."""
        registry = self._registry
        registry.expire(now_ms)
        if self._snapshot_revision != registry.revision:
            self._snapshot = self._join_snapshot()
            self._snapshot_revision = registry.revision
        return self._snapshot

    def _join_snapshot(self) -> bytes:
        registry = self._registry
        resources = b",".join(
            orjson.dumps(agent_id) + b":" + record.encoded(to_json_bytes)
            for agent_id, record in sorted(registry.resources.items())
        )
        vram = b",".join(
            orjson.dumps(record.message.agent_id) + b":" + record.encoded(to_json_bytes)
            for record in registry.vram_accounts()
        )
        rest = b',"resources":{%b},"fleet_models":%b,"vram":{%b},"revision":%d}' % (
            resources,
            orjson.dumps(registry.fleet_models()),
            vram,
            registry.revision,
        )
        return b"".join((memoryview(self.endpoints())[:-1], rest))


def _encoded(record: EndpointRecord) -> bytes:
    return record.encoded(to_json_bytes)
