"""vLLM's OpenAI-compatible server.

`/health` is 503 if the engine has died. `/version`, `/health` and `/metrics` need no key,
but `/v1/models` does. Listed models are loaded, unless the server sleeps. `/is_sleeping`
exists only in its development mode, so the hub tries it in every tenth probe and then
requests the version, too. It also requests the version whenever the probe had to open a
new connection. A LoRA adapter is listed as a model whose `parent` is its base. vLLM does
not report capabilities.
"""

from dataclasses import replace

from hub.probes import json_fields
from hub.probes.asker import Asker
from hub.probes.backends import prometheus_text
from hub.probes.backends.openai import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.backends.prometheus_text import HitRatio
from hub.probes.faults import NotReady
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import (
    BACKEND_VLLM,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
)

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_KV_CACHE = "vllm:kv_cache_usage_perc"
_KV_CACHE_OLD = "vllm:gpu_cache_usage_perc"
_PREFIX_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
_PREFIX_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")


class VllmProber(Prober):
    """Probes a vLLM server with three requests per probe."""

    kind = BACKEND_VLLM
    title = "vLLM"

    __slots__ = ("_cadence", "_can_sleep", "_prefix_cache", "_version")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._can_sleep = True
        self._prefix_cache = HitRatio()
        self._version = ""

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        health = await ask.get("/health")
        if health.status == 503:
            raise NotReady("its engine is dead (503 to /health)")
        health.require_ok()
        is_due = self._cadence.due()
        self._can_sleep = self._can_sleep or is_due
        if is_due or ask.has_connected:
            version = await ask.get("/version")
            if version.ok:
                self._version = json_fields.text(
                    version.json_or_none(), "version", limit=json_fields.MAX_VERSION
                )
        listed = (await ask.get("/v1/models")).json()
        state = MODEL_STATE_AVAILABLE if await self._sleeps(ask) else MODEL_STATE_LOADED
        models = parse_list(listed, owner="vllm", state=state)
        page = await ask.get("/metrics")
        load = parse_metrics(page.body) if page.ok else None
        if load is not None:
            ratio = self._prefix_cache.count(*prefix_tokens(page.body))
            load = replace(load, prefix_cache_hit_ratio=ratio)
        return Sighting.of(models, self._version, load)

    async def _sleeps(self, ask: Asker) -> bool:
        if not self._can_sleep:
            return False
        answer = await ask.get("/is_sleeping")
        self._can_sleep = answer.ok
        return answer.ok and bool(json_fields.truth(answer.json_or_none(), "is_sleeping"))


def prefix_tokens(page: bytes) -> tuple[float | None, float | None]:
    """Reads from `/metrics` the numbers of prompt tokens and of cached ones among them."""
    found = prometheus_text.gauges(page, _PREFIX_QUERIES + _PREFIX_HITS)
    queries = [found[name] for name in _PREFIX_QUERIES if name in found]
    hits = [found[name] for name in _PREFIX_HITS if name in found]
    return (queries[0], hits[0]) if queries and hits else (None, None)


def parse_metrics(page: bytes) -> Load | None:
    """Parses `/metrics`; None if it has none of vLLM's gauges.

    Counts are sums over the engines of a data-parallel server; the use of the KV cache
    is the engines' mean.
    """
    found = prometheus_text.gauges(page, (_RUNNING, _WAITING, _KV_CACHE, _KV_CACHE_OLD))
    if not found:
        return None
    cache = _KV_CACHE if _KV_CACHE in found else _KV_CACHE_OLD
    used = found.get(cache)
    if used is not None:
        used /= max(1, prometheus_text.series(page, cache))
    return Load(
        running=prometheus_text.count(found.get(_RUNNING)),
        waiting=prometheus_text.count(found.get(_WAITING)),
        kv_cache_used_ratio=prometheus_text.share(used),
    )
