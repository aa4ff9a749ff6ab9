"""Asks a server of this host for the hub's own probers, without the hub's HTTP client.

That client would take more memory than all else in a sidecar. Each request here opens
its own connection, so a server that was replaced is noticed at once.
"""

from urllib.parse import urlencode

import orjson

from hub.probes.answer import Answer, JsonValue
from hub.probes.faults import BadAnswer, Unreachable
from hub.probes.model_facts import ModelFactsCache
from hub.probes.target import ProbeTarget
from hub.sidecar.local_http import AskError, send


class LocalAsker:
    """Asks one server during one look; a `hub.probes.asker.Asker`."""

    is_asked = False
    has_connected = True

    def __init__(self, url: str, target: ProbeTarget, facts: ModelFactsCache) -> None:
        self.target = target
        self.facts = facts
        self._url = url

    async def get(self, path: str, query: dict[str, str] | None = None) -> Answer:
        """See `Asker`. Raises Unreachable, BadAnswer."""
        return await self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    async def post(self, path: str, value: JsonValue) -> Answer:
        """See `Asker`. Raises Unreachable, BadAnswer."""
        return await self._ask("POST", path, orjson.dumps(value))

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        try:
            answer = await send(method, self._url, path, body)
        except AskError as error:
            raise (BadAnswer if error.answered else Unreachable)(str(error)) from None
        return Answer(
            path=path,
            status=answer.status,
            content_type=answer.header("content-type"),
            server=answer.header("server"),
            retry_after=answer.header("retry-after"),
            location=answer.header("location"),
            body=answer.body,
        )
