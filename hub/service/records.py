"""What the hub keeps in a store: keys, values, and the consumers of their changes.

endpoints/<endpoint id>   the durable fields of an llmhub.v1.Endpoint
secrets/<endpoint id>     the endpoint's own API key, UTF-8
tokens/<token id>         see hub.service.access.tokens
aliases/<alias>           an llmhub.v1.ModelAlias
audit/<event id>          an llmhub.v1.AuditEvent
sessions/<digest>         see hub.service.access.browser_sessions
uses/<token id>           see hub.service.access.token_uses
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from hub.stores.store import Change, Contents, Entry, StoreError
from llmhub.v1.endpoint_pb2 import Endpoint

ENDPOINTS: Final = "endpoints"
SECRETS: Final = "secrets"
TOKENS: Final = "tokens"
ALIASES: Final = "aliases"
AUDIT: Final = "audit"
SESSIONS: Final = "sessions"
USES: Final = "uses"

# What an admin or a sidecar has registered. The hub observes everything else again.
_DURABLE_FIELDS: Final = (
    "id",
    "host",
    "port",
    "scheme",
    "base_path",
    "name",
    "source",
    "agent_id",
    "admin_state",
)


def endpoint_key(endpoint_id: str) -> str:
    """The key of an endpoint's record."""
    return f"{ENDPOINTS}/{endpoint_id}"


def secret_key(endpoint_id: str) -> str:
    """The key of an endpoint's API key."""
    return f"{SECRETS}/{endpoint_id}"


def token_key(token_id: str) -> str:
    """The key of a token's record."""
    return f"{TOKENS}/{token_id}"


def alias_key(name: str) -> str:
    """The key of a model alias."""
    return f"{ALIASES}/{name}"


def audit_key(event_id: str) -> str:
    """The key of an audit event."""
    return f"{AUDIT}/{event_id}"


def use_key(token_id: str) -> str:
    """The key of a token's last use."""
    return f"{USES}/{token_id}"


def name_of(key: str) -> str:
    """The id in a key: "h:1" of "endpoints/h:1"."""
    return key.partition("/")[2]


def durable_fields(endpoint: Endpoint) -> Endpoint:
    """A new message with the durable fields alone.

    A detected backend is an observation, so it is left out.
    """
    durable = Endpoint(**{field: getattr(endpoint, field) for field in _DURABLE_FIELDS})
    if not endpoint.backend_detected:
        durable.backend = endpoint.backend
    durable.labels.update(endpoint.labels)
    if endpoint.HasField("registered_at"):
        durable.registered_at.CopyFrom(endpoint.registered_at)
    return durable


def encode_endpoint(durable: Endpoint) -> bytes:
    """Serializes what `durable_fields` returns; equal fields give equal bytes."""
    return durable.SerializeToString(deterministic=True)


def decode_endpoint(entry: Entry) -> Endpoint:
    """Returns the durable fields, with the etag of the revision that wrote them.

    Raises StoreError, which names the key, if the record is not that endpoint's.
    """
    try:
        endpoint = Endpoint.FromString(entry.value)
    except DecodeError as error:
        raise damaged_record(entry.key) from error
    if endpoint.id != name_of(entry.key):
        raise damaged_record(entry.key)
    endpoint.etag = etag_of(entry.revision)
    return endpoint


def etag_of(revision: int) -> str:
    """The etag of a record that was written at `revision`."""
    return f"{revision:x}"


def revision_of_etag(etag: str) -> int | None:
    """The revision that an etag stands for, for an `Expect`; None if the hub made no such etag."""
    try:
        revision = int(etag, 16)
    except ValueError:
        return None
    # int() also takes signs, underscores and spaces.
    return revision if revision >= 0 and etag_of(revision) == etag else None


def encode_secret(api_key: str) -> bytes:
    """Serializes an endpoint's API key."""
    return api_key.encode()


def decode_secret(entry: Entry) -> str:
    """Returns an endpoint's API key. Raises StoreError, naming the key."""
    try:
        return entry.value.decode()
    except UnicodeDecodeError:
        # Not chained: the error would carry the secret.
        raise damaged_record(entry.key) from None


def damaged_record(key: str) -> StoreError:
    """The error for a record that cannot be read."""
    return StoreError(f"the record {key!r} in the store is damaged: restore a backup, or remove it")


def unknown_fields(message: Message) -> tuple[str, ...]:
    """The fields of a record that only a newer hub knows, such as "TokenScope.9".

    A record that limits someone must not be taken for one without the limit.
    """
    name = message.DESCRIPTOR.name
    unknown = UnknownFieldSet(message)
    found = [f"{name}.{unknown[i].field_number}" for i in range(len(unknown))]
    for _, value in message.ListFields():
        if isinstance(value, Message):
            found += unknown_fields(value)
    return tuple(found)


class RecordConsumer(Protocol):
    """Keeps part of the hub's memory in step with the store."""

    def apply_put(self, entry: Entry) -> None:
        """Takes a new or changed record. Raises StoreError for a damaged one."""
        ...

    def apply_delete(self, key: str) -> None:
        """Handles the removal of a record."""
        ...


class RecordRouter:
    """Routes a store's records, and their changes, to the consumers.

    `routes` maps the first part of a key ("endpoints") to its consumers; each gets every
    record in turn. `apply` is a `hub.stores.store.ChangeListener`. Keys without a route,
    which a later version may write, are skipped and counted in `unrouted`.
    """

    def __init__(self, routes: Mapping[str, Sequence[RecordConsumer]]) -> None:
        self._routes = {prefix: tuple(consumers) for prefix, consumers in routes.items()}
        self.unrouted = 0

    def load(self, contents: Contents) -> None:
        """Puts every entry. Raises StoreError at the first damaged record."""
        for entry in contents.entries:
            self._put(entry)

    def apply(self, change: Change) -> None:
        """Applies one change: its deletions, then its puts, which have other keys.

        A damaged record does not stop the others: the first StoreError is raised after all
        records are applied.
        """
        for key in change.deletes:
            for consumer in self._consumers(key):
                consumer.apply_delete(key)
        damaged: StoreError | None = None
        for entry in change.puts:
            try:
                self._put(entry)
            except StoreError as error:
                damaged = damaged or error
        if damaged is not None:
            raise damaged

    def _put(self, entry: Entry) -> None:
        for consumer in self._consumers(entry.key):
            consumer.apply_put(entry)

    def _consumers(self, key: str) -> tuple[RecordConsumer, ...]:
        consumers = self._routes.get(key.partition("/")[0])
        if consumers is None:
            self.unrouted += 1
            return ()
        return consumers
