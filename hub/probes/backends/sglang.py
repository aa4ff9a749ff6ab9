"""SGLang's server.

Some versions generate a token on `/health`, so it is never requested: `/v1/models` also
shows whether the server is up. `/v1/loads` is newer than `/get_load` and may be missing;
then `/metrics` has the load, if the server was started with `--enable-metrics`. The
version is in `/get_server_info` (later `/server_info`) among hundreds of settings, so it
is requested in every tenth probe. A LoRA adapter is listed as a model whose `parent` is
its base. SGLang does not report capabilities.
"""

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends import prometheus_text
from hub.probes.backends.openai import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import BACKEND_SGLANG, MODEL_STATE_LOADED

_RUNNING = "sglang:num_running_reqs"
_WAITING = "sglang:num_queue_reqs"
_KV_CACHE = "sglang:token_usage"
_HIT_RATE = "sglang:cache_hit_rate"


class SglangProber(Prober):
    """Probes an SGLang server with two requests per probe."""

    kind = BACKEND_SGLANG
    title = "SGLang"

    __slots__ = ("_cadence", "_has_loads", "_has_metrics", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_loads = True
        self._has_metrics = True
        self._version = ""

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = (await ask.get("/v1/models")).json()
        models = parse_list(listed, owner="sglang", state=MODEL_STATE_LOADED)
        if self._cadence.due():
            self._has_loads = self._has_metrics = True
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
        if not self._has_loads and self._has_metrics:
            page = await ask.get("/metrics")
            self._has_metrics = page.ok
            load = parse_metrics(page.body) if page.ok else None
        return Sighting.of(models, self._version, load)

    async def _ask_version(self, ask: Asker) -> None:
        for path in ("/get_server_info", "/server_info"):
            answer = await ask.get(path)
            if answer.ok:
                self._version = json_fields.text(
                    answer.json_or_none(), "version", limit=json_fields.MAX_VERSION
                )
                return


def parse_loads(value: JsonValue) -> Load | None:
    """Parses `/v1/loads`: sums of counts over the data-parallel ranks, means of ratios."""
    found = json_fields.items(value, "loads")
    if not found:
        return None
    return Load(
        running=_sum(found, "num_running_reqs"),
        waiting=_sum(found, "num_waiting_reqs"),
        slots=_sum(found, "max_running_requests"),
        kv_cache_used_ratio=_mean(found, "token_usage"),
        prefix_cache_hit_ratio=_mean(found, "cache_hit_rate"),
    )


def parse_metrics(page: bytes) -> Load | None:
    """Parses `/metrics`; None if it has none of SGLang's gauges."""
    found = prometheus_text.gauges(page, (_RUNNING, _WAITING, _KV_CACHE, _HIT_RATE))
    if not found:
        return None

    def mean(name: str) -> float | None:
        total = found.get(name)
        series = max(1, prometheus_text.series(page, name))
        return prometheus_text.share(total / series if total is not None else None)

    return Load(
        running=prometheus_text.count(found.get(_RUNNING)),
        waiting=prometheus_text.count(found.get(_WAITING)),
        kv_cache_used_ratio=mean(_KV_CACHE),
        prefix_cache_hit_ratio=mean(_HIT_RATE),
    )


def _sum(ranks: list[JsonValue], key: str) -> int | None:
    figures = [count for rank in ranks if (count := json_fields.whole(rank, key)) is not None]
    return sum(figures) if figures else None


def _mean(ranks: list[JsonValue], key: str) -> float | None:
    figures = [ratio for rank in ranks if (ratio := json_fields.ratio(rank, key)) is not None]
    return sum(figures) / len(figures) if figures else None
