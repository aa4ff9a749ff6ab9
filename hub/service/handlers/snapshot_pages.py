"""A snapshot of the fleet in pages, none of which is too long for a client's usual bound.

A page is a part of the snapshot: endpoints first, then hosts, then the counts of models. Each
is as of the page's own revision. A client that reads all pages and then watches from the
revision of the first one misses nothing.
"""

from collections.abc import Iterator
from typing import Final

import orjson
from google.protobuf.wrappers_pb2 import BytesValue

from hub.contract.dialect.encode import to_json_bytes
from hub.registry import listings
from hub.registry.following import EndpointRecord
from hub.registry.state import Registry
from hub.service.handlers.paging import Pager
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest, GetSnapshotResponse
from llmhub.v1.resources_pb2 import Snapshot

# The first character of a key is its section; they are in the order of the pages.
_ENDPOINT: Final = "e"
_HOST: Final = "h"
_MODEL: Final = "m"
_MEMBERS: Final = (
    (b"endpoints", b"[", b"]"),
    (b"resources", b"{", b"}"),
    (b"fleet_models", b"{", b"}"),
    (b"vram", b"{", b"}"),
)


class SnapshotPages:
    """Makes the pages, as messages and as JSON."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def encoded(self, request: GetSnapshotRequest, now_ms: int) -> bytes:
        """An encoded GetSnapshotResponse. Raises InvalidPageToken."""
        self._registry.expire(now_ms)
        pager = Pager(request)
        parts = ((key, self._fragment(key)) for key in self._keys(pager.after))
        page, token = pager.cut(parts, _key, _size)
        rest = Snapshot(revision=self._registry.revision).SerializeToString()
        snapshot = b"".join((*(fragment for _, fragment in page), rest))
        # A message field and a bytes field of one number look the same on the wire.
        return (
            BytesValue(value=snapshot).SerializeToString()
            + GetSnapshotResponse(next_page_token=token).SerializeToString()
        )

    def json(self, request: GetSnapshotRequest, now_ms: int) -> bytes:
        """The page in the JSON dialect. Raises InvalidPageToken."""
        self._registry.expire(now_ms)
        pager = Pager(request)
        parts = ((key, self._members(key)) for key in self._keys(pager.after))
        page, token = pager.cut(parts, _key, lambda part: sum(map(len, part[1].values())))
        members = (
            b'"%b":%b%b%b'
            % (name, begin, b",".join(each[name] for _, each in page if name in each), end)
            for name, begin, end in _MEMBERS
        )
        rest = b',"revision":%d,"next_page_token":%b}' % (
            self._registry.revision,
            orjson.dumps(token),
        )
        return b"{" + b",".join(members) + rest

    def _keys(self, after: str) -> Iterator[str]:
        """The keys of all parts after that key, in order."""
        registry = self._registry
        for record in registry.endpoints(_rest(after, _ENDPOINT)):
            yield _ENDPOINT + record.message.id
        agents = {agent_id for agent_id, _ in registry.resources.items()}
        agents.update(account.message.agent_id for account in registry.vram_accounts())
        for agent_id in sorted(agents):
            if _HOST + agent_id > after:
                yield _HOST + agent_id
        for name in registry.model_index.names(_rest(after, _MODEL)):
            yield _MODEL + name

    def _fragment(self, key: str) -> bytes:
        """What the part adds to an encoded Snapshot."""
        section, name = key[0], key[1:]
        registry = self._registry
        if section == _ENDPOINT:
            return listings.get_endpoint(self._endpoint(name))
        if section == _MODEL:
            count = registry.model_index.summary(name).endpoint_count
            return Snapshot(fleet_models={name: count}).SerializeToString()
        part = Snapshot(vram={name: registry.vram(name).message})
        if (report := registry.resources.get(name)) is not None:
            part.resources[name].CopyFrom(report.message)
        return part.SerializeToString()

    def _members(self, key: str) -> dict[bytes, bytes]:
        """What the part adds to each member of the JSON snapshot."""
        section, name = key[0], key[1:]
        registry = self._registry
        if section == _ENDPOINT:
            return {b"endpoints": self._endpoint(name).encoded(to_json_bytes)}
        quoted = orjson.dumps(name) + b":"
        if section == _MODEL:
            count = registry.model_index.summary(name).endpoint_count
            return {b"fleet_models": quoted + str(count).encode()}
        members = {b"vram": quoted + registry.vram(name).encoded(to_json_bytes)}
        if (report := registry.resources.get(name)) is not None:
            members[b"resources"] = quoted + report.encoded(to_json_bytes)
        return members

    def _endpoint(self, id_: str) -> EndpointRecord:
        record = self._registry.get(id_)
        assert record is not None
        return record


def _rest(after: str, section: str) -> str:
    """The name after which the section's parts start; all come before any in later ones."""
    if not after or after[0] < section:
        return ""
    # Past the last possible name if the page starts in a later section.
    return after[1:] if after[0] == section else "\U0010ffff"


def _key(part: tuple[str, object]) -> str:
    return part[0]


def _size(part: tuple[str, bytes]) -> int:
    return len(part[1])
