"""LMDeploy's api_server.

It serves one model, which is loaded as soon as the server answers. LoRA adapters are in
the same list and cannot be distinguished from models. No route reports version, context
or capabilities. `/metrics` exists if the server was started with metrics enabled.
"""

from hub.probes.asker import Asker
from hub.probes.backends import prometheus_text
from hub.probes.backends.openai import parse_list
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import BACKEND_LMDEPLOY, MODEL_STATE_LOADED

_RUNNING = "lmdeploy:num_requests_running"
_WAITING = "lmdeploy:num_requests_waiting"
_KV_CACHE = "lmdeploy:gpu_cache_usage_perc"


class LmDeployProber(Prober):
    """Probes an LMDeploy server with one request per probe, two with metrics."""

    kind = BACKEND_LMDEPLOY
    title = "LMDeploy"

    __slots__ = ("_cadence", "_has_metrics")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_metrics = True

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = (await ask.get("/v1/models")).json()
        models = parse_list(listed, owner="lmdeploy", state=MODEL_STATE_LOADED)
        if self._cadence.due():
            self._has_metrics = True
        load = None
        if self._has_metrics:
            page = await ask.get("/metrics")
            self._has_metrics = page.ok
            load = parse_metrics(page.body) if page.ok else None
        return Sighting.of(models, load=load)


def parse_metrics(page: bytes) -> Load | None:
    """Parses `/metrics`; None if it has none of LMDeploy's gauges.

    Counts are sums over the engines; the use of the KV cache is the engines' mean.
    """
    found = prometheus_text.gauges(page, (_RUNNING, _WAITING, _KV_CACHE))
    if not found:
        return None
    used = found.get(_KV_CACHE)
    if used is not None:
        used /= max(1, prometheus_text.series(page, _KV_CACHE))
    return Load(
        running=prometheus_text.count(found.get(_RUNNING)),
        waiting=prometheus_text.count(found.get(_WAITING)),
        kv_cache_used_ratio=prometheus_text.share(used),
    )
