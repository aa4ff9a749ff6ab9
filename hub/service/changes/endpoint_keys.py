"""The endpoints' own API keys, for requests that a gateway sends to them."""

from hub.service.records import decode_secret, name_of
from hub.stores.store import Entry


class EndpointKeys:
    """The keys by endpoint; a `hub.service.records.RecordConsumer` of "secrets"."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"EndpointKeys({len(self._keys)})"

    def get(self, endpoint_id: str) -> str | None:
        """The API key of an endpoint, or None."""
        return self._keys.get(endpoint_id)

    def apply_put(self, entry: Entry) -> None:
        """See `RecordConsumer`."""
        self._keys[name_of(entry.key)] = decode_secret(entry)

    def apply_delete(self, key: str) -> None:
        """See `RecordConsumer`."""
        self._keys.pop(name_of(key), None)
