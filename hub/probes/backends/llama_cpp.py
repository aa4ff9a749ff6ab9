"""llama.cpp's llama-server, with one model or as a router over many.

While it loads its model, every route answers 503 "Loading model". As a router it
starts a server per model, and a request that names a model starts its server:
everything that names one is asked with `autoload=false`, and only of models that
are loaded already. `/slots` may be switched off and `/metrics` is off unless
asked for, so both may be missing; `/props` needs the key where there is one.
"""

from hub.probes import reading
from hub.probes.backends import metrics
from hub.probes.backends.base import Cadence, Prober, Sighting
from hub.probes.errors import NotReady, WrongKind
from hub.probes.http import Asker, JsonValue
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Model,
    ModelState,
)

_PROCESSING = "llamacpp:requests_processing"
_DEFERRED = "llamacpp:requests_deferred"
_KV_CACHE = "llamacpp:kv_cache_usage_ratio"

# How many loaded models of a router are asked for their slots in one probe.
_ROUTER_SLOTS = 8

_STATES: dict[str, ModelState] = {
    "loaded": MODEL_STATE_LOADED,
    "sleeping": MODEL_STATE_AVAILABLE,
    "loading": MODEL_STATE_AVAILABLE,
    "unloaded": MODEL_STATE_AVAILABLE,
    "downloading": MODEL_STATE_UNSPECIFIED,
    "downloaded": MODEL_STATE_AVAILABLE,
}


class LlamaCppProber(Prober):
    """Probes a llama-server: three requests a probe, one more per loaded model of a router."""

    kind = BACKEND_LLAMA_CPP
    title = "llama.cpp server"

    __slots__ = ("_build", "_cadence", "_has_metrics", "_is_router")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._build = ""
        self._has_metrics = True
        self._is_router = False

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = await ask.get("/v1/models")
        if listed.status == 503 and b"oading" in listed.body:
            raise NotReady("is loading its model")
        value = listed.json()
        if self._cadence.due():
            await self._ask_props(ask)
        if self._is_router:
            return await self._probe_router(ask)
        models = parse_models(value)
        slots = await ask.get("/slots")
        load = parse_slots(slots.json_or_none()) if slots.ok else None
        context = context_of_slots(slots.json_or_none()) if slots.ok else None
        for model in models:
            if context is not None:
                model.context_length = context
        return Sighting(tuple(models), self._build, await self._with_metrics(ask, load))

    async def _ask_props(self, ask: Asker) -> None:
        answer = await ask.get("/props")
        if not answer.ok:
            return
        props = answer.json_or_none()
        self._build = reading.text(props, "build_info", limit=reading.MAX_VERSION)
        self._is_router = reading.text(props, "role") == "router"
        self._has_metrics = True

    async def _probe_router(self, ask: Asker) -> Sighting:
        models = parse_router((await ask.get("/models")).json())
        loaded = [model for model in models if model.state == MODEL_STATE_LOADED]
        loads = []
        for model in loaded[:_ROUTER_SLOTS]:
            answer = await ask.get("/slots", {"model": model.name, "autoload": "false"})
            if not answer.ok:
                continue
            slots = answer.json_or_none()
            context = context_of_slots(slots)
            if context is not None:
                model.context_length = context
            if (load := parse_slots(slots)) is not None:
                loads.append(load)
        return Sighting(tuple(models), self._build, add_up(loads))

    async def _with_metrics(self, ask: Asker, load: Load | None) -> Load | None:
        if not self._has_metrics:
            return load
        page = await ask.get("/metrics")
        self._has_metrics = page.ok
        return parse_metrics(page.body, load) if page.ok else load


def parse_models(value: JsonValue) -> list[Model]:
    """Parses `/v1/models` of a server with one model: what is listed is loaded.

    The context is the one that the model was trained for; `/slots` tells the one
    in force. Raises WrongKind where there is no list or it is another's.
    """
    found = reading.items(value, "data")
    if found is None or (
        found and not any(reading.text(entry, "owned_by") == "llamacpp" for entry in found)
    ):
        raise WrongKind("answered /v1/models without llama.cpp's list of models")
    models = []
    for entry in found:
        if name := reading.model_name(entry, "id"):
            parameters = reading.whole(entry, "meta", "n_params")
            models.append(
                reading.model(
                    name,
                    state=MODEL_STATE_LOADED,
                    size_bytes=reading.whole(entry, "meta", "size"),
                    parameter_size=parameter_words(parameters),
                    context_length=reading.whole(entry, "meta", "n_ctx_train") or None,
                )
            )
    return reading.by_name(models)


def parse_router(value: JsonValue) -> list[Model]:
    """Parses a router's `/models`: each model with its own state.

    Raises WrongKind where there is no list.
    """
    found = reading.items(value, "data")
    if found is None:
        raise WrongKind("answered /models without a list of models")
    models = []
    for entry in found:
        if name := reading.model_name(entry, "id", "name"):
            state = _STATES.get(reading.text(entry, "status", "value"), MODEL_STATE_UNSPECIFIED)
            models.append(
                reading.model(
                    name,
                    state=state,
                    size_bytes=reading.whole(entry, "meta", "size"),
                    context_length=reading.whole(entry, "meta", "n_ctx_train") or None,
                )
            )
    return reading.by_name(models)


def context_of_slots(value: JsonValue) -> int | None:
    """Returns the context in tokens that one request has; None where slots do not tell."""
    slots = value if isinstance(value, list) else []
    sizes = [size for slot in slots[:4096] if (size := reading.whole(slot, "n_ctx"))]
    return min(sizes, default=None)


def parse_slots(value: JsonValue) -> Load | None:
    """Parses `/slots`: how many there are and how many work; None where it is no list."""
    if not isinstance(value, list):
        return None
    busy = sum(bool(reading.truth(slot, "is_processing")) for slot in value[:4096])
    return Load(running=busy, slots=len(value[:4096]))


def parse_metrics(page: bytes, slots: Load | None) -> Load | None:
    """Parses `/metrics`, adding to what the slots told; their count of running ones wins."""
    found = metrics.gauges(page, (_PROCESSING, _DEFERRED, _KV_CACHE))
    if not found:
        return slots
    running = slots.running if slots is not None else None
    return Load(
        running=running if running is not None else metrics.count(found.get(_PROCESSING)),
        waiting=metrics.count(found.get(_DEFERRED)),
        slots=slots.slots if slots is not None else None,
        kv_cache_used_ratio=metrics.share(found.get(_KV_CACHE)),
    )


def add_up(loads: list[Load]) -> Load | None:
    """Returns the load of a router: the sum over its models' servers."""
    if not loads:
        return None
    return Load(
        running=sum(load.running or 0 for load in loads),
        slots=sum(load.slots or 0 for load in loads),
    )


def parameter_words(count: int | None) -> str:
    """Returns a number of parameters as people write it ("8.0B"); "" for none."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count is not None and count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count) if count else ""
