"""SGLang's server.

Some versions generate a token on `/health`, so it is never asked: `/v1/models`
tells as well whether the server is up. `/v1/loads` is newer than `/get_load`
and may be missing. The version stands in `/get_server_info` (later
`/server_info`) among hundreds of settings: asked every tenth probe.
"""

from hub.probes import json_fields
from hub.probes.backends.model_list import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.probe_client import Asker, JsonValue
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import BACKEND_SGLANG, MODEL_STATE_LOADED


class SglangProber(Prober):
    """Probes an SGLang server: two requests a probe."""

    kind = BACKEND_SGLANG
    title = "SGLang"

    __slots__ = ("_cadence", "_has_loads", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_loads = True
        self._version = ""

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = (await ask.get("/v1/models")).json()
        models = parse_list(listed, owner="sglang", state=MODEL_STATE_LOADED)
        if self._cadence.due():
            self._has_loads = True
            await self._ask_version(ask)
        load = None
        if self._has_loads:
            answer = await ask.get("/v1/loads")
            self._has_loads = answer.ok
            if answer.ok:
                value = answer.json_or_none()
                load = parse_loads(value)
                self._version = (
                    json_fields.text(value, "version", limit=json_fields.MAX_VERSION)
                    or self._version
                )
        return Sighting(json_fields.shared(models), self._version, load)

    async def _ask_version(self, ask: Asker) -> None:
        for path in ("/get_server_info", "/server_info"):
            answer = await ask.get(path)
            if answer.ok:
                self._version = json_fields.text(
                    answer.json_or_none(), "version", limit=json_fields.MAX_VERSION
                )
                return


def parse_loads(value: JsonValue) -> Load | None:
    """Parses `/v1/loads`: sums over the data-parallel ranks, the mean use of the cache."""
    found = json_fields.items(value, "loads")
    if not found:
        return None
    running = [
        n for rank in found if (n := json_fields.whole(rank, "num_running_reqs")) is not None
    ]
    waiting = [
        n for rank in found if (n := json_fields.whole(rank, "num_waiting_reqs")) is not None
    ]
    used = [u for rank in found if (u := json_fields.ratio(rank, "token_usage")) is not None]
    return Load(
        running=sum(running) if running else None,
        waiting=sum(waiting) if waiting else None,
        kv_cache_used_ratio=sum(used) / len(used) if used else None,
    )
