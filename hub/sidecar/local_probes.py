"""Probes the servers of this host with the hub's own probers, without running inference."""

import asyncio
import logging
from urllib.parse import urlencode

import orjson

from hub.base.address import parse_endpoint_url
from hub.contract.dialect.names import enum_word
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import Asker, ProbeTarget
from hub.probes.backends.prober import Prober, Sighting
from hub.probes.detect import detect
from hub.probes.faults import BadAnswer, NotReady, ProbeError, Unreachable, WrongKind
from hub.probes.model_facts import ModelFactsCache
from hub.sidecar.local_http import AskError, send
from hub.sidecar.local_server import LocalServer
from llmhub.v1.endpoint_pb2 import Backend

log = logging.getLogger("llm-hub.sidecar")

# The time limit for all requests of one probe together.
TIMEOUT_S = 8.0

# A host has few servers.
_MAX_FACTS = 4096
_MAX_FACTS_BYTES = 2 * 1024 * 1024


class LocalProbes:
    """Probes servers, and remembers the kind and the models of each."""

    def __init__(self) -> None:
        self._probers: dict[str, Prober] = {}
        self._facts = ModelFactsCache(max_entries=_MAX_FACTS, max_bytes=_MAX_FACTS_BYTES)

    async def look(self, url: str) -> LocalServer:
        """Probes the server at `url`; never raises.

        A server that is unreachable, requires a key, is starting or is not an inference
        server has an `error`.
        """
        address = parse_endpoint_url(url)
        target = ProbeTarget(
            address.id, address.scheme, address.host, address.port, address.base_path
        )
        ask = LocalAsker(url, target, self._facts)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                sighting = await self._probe(url, ask)
        except ProbeError as error:
            server = self._failed(url, error)
            if not error.answered:
                self._probers.pop(url, None)
            return server
        except TimeoutError:
            return LocalServer(url, error=f"did not answer all requests within {TIMEOUT_S:g} s")
        except Exception as error:
            log.exception("the server at %s could not be probed", url)
            what = type(error).__name__
            return LocalServer(url, error=f"the sidecar could not process its answers ({what})")
        return LocalServer(url, self._backend(url), sighting.version or None, sighting.models)

    async def _probe(self, url: str, ask: Asker) -> Sighting:
        known = self._probers.get(url)
        if known is not None:
            try:
                return await known.probe(ask)
            except WrongKind:
                # Another server has taken over the port.
                del self._probers[url]
        prober = self._probers[url] = await detect(ask)
        try:
            return await prober.probe(ask)
        except WrongKind:
            del self._probers[url]
            raise

    def _failed(self, url: str, error: ProbeError) -> LocalServer:
        models = error.models if isinstance(error, NotReady) else None
        return LocalServer(
            url,
            self._backend(url),
            models=models,
            error=str(error),
            answered=error.answered,
        )

    def _backend(self, url: str) -> str | None:
        prober = self._probers.get(url)
        return None if prober is None else enum_word(Backend.DESCRIPTOR, prober.kind)


class LocalAsker:
    """Sends the requests of one probe to one server; a `hub.probes.asker.Asker`.

    The hub's HTTP client would take more memory than the rest of the sidecar. Each request
    opens its own connection, so a replaced server is noticed at once.
    """

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
