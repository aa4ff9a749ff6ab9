"""Any server with an OpenAI-compatible model list: all it tells is the names."""

from hub.probes.asker import Asker
from hub.probes.backends.model_list import parse_list
from hub.probes.backends.prober import Prober, Sighting
from llmhub.v1.endpoint_pb2 import BACKEND_OPENAI


class OpenAiProber(Prober):
    """Probes a server by `GET /v1/models` alone, one request a probe."""

    kind = BACKEND_OPENAI
    title = "an OpenAI-compatible server"

    __slots__ = ()

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        return Sighting.of(parse_list((await ask.get("/v1/models")).json()))
