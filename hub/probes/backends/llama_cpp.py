"""llama.cpp's llama-server, with one model or as a router over many.

While it loads its model, most builds answer 503 "Loading model" to every route. Some
answer the list, with `meta: null`, and 503 only to `/props`. The model list needs no key
although everything else does, so `/props` shows whether the key is right.

A request to `/slots`, `/metrics` or `/lora-adapters` is a task in the server's queue. It
wakes a server that put its model to sleep (`--sleep-idle-seconds`), which then loads it
again, and it restarts the idle time. `/props` and the lists do neither. So a sleeping
server gets no further requests, and one that was ever seen asleep is no longer asked for
its load, because otherwise it would never sleep again. A router starts another server for
a model as soon as a request names the model. So a path that names a model is used with
`autoload=false`, and only for loaded models that never sleep.
"""

from dataclasses import dataclass, field, replace

from hub.probes import json_fields
from hub.probes.answer import Answer, JsonValue
from hub.probes.asker import Asker
from hub.probes.backends import prometheus_text
from hub.probes.backends.capabilities import AUDIO, TOOLS, VISION, Capabilities
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.backends.prometheus_text import HitRatio
from hub.probes.faults import NotReady, WrongKind
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import (
    BACKEND_LLAMA_CPP,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_LOADING,
    MODEL_STATE_UNSPECIFIED,
    Model,
    ModelState,
)

_PROCESSING = "llamacpp:requests_processing"
_DEFERRED = "llamacpp:requests_deferred"
_KV_CACHE = "llamacpp:kv_cache_usage_ratio"
_PROMPT = "llamacpp:prompt_tokens_total"
_PROMPT_CACHED = "llamacpp:prompt_tokens_cached_total"

# The number of a router's loaded models whose slots are requested in one probe.
_ROUTER_SLOTS = 8

_MAX_ADAPTERS = 64

_STATES: dict[str, ModelState] = {
    "loaded": MODEL_STATE_LOADED,
    "sleeping": MODEL_STATE_AVAILABLE,
    "loading": MODEL_STATE_LOADING,
    "unloaded": MODEL_STATE_AVAILABLE,
    "downloading": MODEL_STATE_UNSPECIFIED,
    "downloaded": MODEL_STATE_AVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Props:
    """What `/props` reports about the server itself, or about one model of a router."""

    build: str = ""
    is_router: bool = False
    is_sleeping: bool = False
    slots: int | None = None
    context: int | None = None
    # Whether the model has each capability, by the hub's name for it.
    capabilities: dict[str, bool | None] = field(default_factory=dict)


class LlamaCppProber(Prober):
    """Probes a llama-server with 2 to 4 requests; a router with 3 and one per loaded model."""

    kind = BACKEND_LLAMA_CPP
    title = "llama.cpp server"

    __slots__ = (
        *("_adapters", "_cadence", "_has_metrics", "_has_slots", "_may_sleep"),
        *("_of_models", "_prefix_cache"),
    )

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_slots = True
        self._has_metrics = True
        self._may_sleep = False
        self._adapters: list[str] = []
        self._prefix_cache = HitRatio()
        # The properties of a router's loaded models, by name.
        self._of_models: dict[str, Props] = {}

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = await ask.get("/v1/models")
        if _is_loading(listed):
            raise NotReady("is loading its model", is_loading=True)
        value = listed.json()
        is_due = self._cadence.due()
        if is_due:
            self._has_slots = self._has_metrics = True
        answer = await ask.get("/props")
        if answer.status in (401, 403):
            answer.require_ok()
        props = parse_props(answer.json_or_none() if answer.ok else None)
        if props.is_router:
            return await self._probe_router(ask, props)
        models = parse_models(value, props, is_loading=_is_loading(answer))
        if any(model.state == MODEL_STATE_LOADING for model in models):
            raise NotReady(
                "is loading its model", is_loading=True, models=Sighting.of(models).models
            )
        self._may_sleep = self._may_sleep or props.is_sleeping
        if is_due and not self._may_sleep:
            adapters = await ask.get("/lora-adapters")
            self._adapters = parse_adapters(adapters.json_or_none() if adapters.ok else None)
        load = Load(slots=props.slots)
        context = props.context
        if self._has_slots and not self._may_sleep:
            answer = await ask.get("/slots")
            self._has_slots = answer.ok
            slots = answer.json_or_none() if answer.ok else None
            load = parse_slots(slots) or load
            context = context_of_slots(slots) or context
        if self._has_metrics and not self._may_sleep:
            page = await ask.get("/metrics")
            self._has_metrics = page.ok
            if page.ok:
                load = replace(
                    parse_metrics(page.body, load),
                    prefix_cache_hit_ratio=self._prefix_cache.count(*prompt_tokens(page.body)),
                )
        for model in models:
            model.adapters[:] = self._adapters
            if context is not None:
                model.context_length = context
        return Sighting.of(models, props.build, load)

    async def _probe_router(self, ask: Asker, props: Props) -> Sighting:
        value = (await ask.get("/models")).json()
        models = parse_router(value)
        awake = never_asleep(value)
        loaded = [
            model for model in models if model.state == MODEL_STATE_LOADED and model.name in awake
        ][:_ROUTER_SLOTS]
        known, self._of_models = self._of_models, {}
        loads: list[Load] = []
        for model in loaded:
            about = {"model": model.name, "autoload": "false"}
            answer = await ask.get("/slots", about)
            slots = answer.json_or_none() if answer.ok else None
            context = context_of_slots(slots)
            if context is not None:
                model.context_length = context
            if (load := parse_slots(slots)) is not None:
                loads.append(load)
            of_model = known.get(model.name)
            if of_model is None:
                answer = await ask.get("/props", about)
                of_model = parse_props(answer.json_or_none() if answer.ok else None)
            self._of_models[model.name] = of_model
            capabilities = Capabilities(model.capabilities)
            for word in model.absent_capabilities:
                capabilities.add(word, is_there=False)
            for word, is_there in of_model.capabilities.items():
                capabilities.add(word, is_there=is_there)
            capabilities.write(model)
        return Sighting.of(models, props.build, add_up(loads))


def _is_loading(answer: Answer) -> bool:
    return answer.status == 503 and b"oading" in answer.body


def parse_props(value: JsonValue) -> Props:
    """Parses `/props`; missing facts are unknown."""
    return Props(
        build=json_fields.text(value, "build_info", limit=json_fields.MAX_VERSION),
        is_router=json_fields.text(value, "role") == "router",
        is_sleeping=bool(json_fields.truth(value, "is_sleeping")),
        slots=json_fields.whole(value, "total_slots"),
        context=json_fields.whole(value, "default_generation_settings", "n_ctx") or None,
        capabilities={
            TOOLS: json_fields.truth(value, "chat_template_caps", "supports_tools"),
            VISION: json_fields.truth(value, "modalities", "vision"),
            AUDIO: json_fields.truth(value, "modalities", "audio"),
        },
    )


def parse_models(
    value: JsonValue,
    props: Props = Props(),
    *,
    is_loading: bool = False,
) -> list[Model]:
    """Parses `/v1/models` of a server with one model.

    The model is loaded unless the server sleeps or is still loading, which `meta: null`
    also shows. The context is the actual one if the list has it, as in newer builds, else
    the one that the model was trained for. Raises WrongKind if there is no list or it is
    another server's.
    """
    found = json_fields.items(value, "data")
    if found is None or (
        found and not any(json_fields.text(entry, "owned_by") == "llamacpp" for entry in found)
    ):
        raise WrongKind("answered /v1/models without llama.cpp's list of models")
    words = {
        json_fields.model_name(entry, "name", "model"): json_fields.words(entry, "capabilities")
        for entry in json_fields.items(value, "models") or ()
    }
    models = []
    for entry in found:
        if name := json_fields.model_name(entry, "id"):
            state = MODEL_STATE_LOADED
            if props.is_sleeping:
                state = MODEL_STATE_AVAILABLE
            elif is_loading or _has_null_meta(entry):
                state = MODEL_STATE_LOADING
            parameters = json_fields.whole(entry, "meta", "n_params")
            model = json_fields.model(
                name,
                state=state,
                size_bytes=json_fields.whole(entry, "meta", "size"),
                parameter_size=parameter_words(parameters),
                quantization=json_fields.text(entry, "meta", "ftype").removeprefix("(guessed) "),
                context_length=json_fields.whole(entry, "meta", "n_ctx")
                or json_fields.whole(entry, "meta", "n_ctx_train")
                or None,
            )
            capabilities = _capabilities(entry, words.get(name, []))
            for word, is_there in props.capabilities.items():
                capabilities.add(word, is_there=is_there)
            capabilities.write(model)
            models.append(model)
    return json_fields.by_name(models)


def parse_router(value: JsonValue) -> list[Model]:
    """Parses a router's `/models`: each model with its own state.

    Raises WrongKind if there is no list.
    """
    found = json_fields.items(value, "data")
    if found is None:
        raise WrongKind("answered /models without a list of models")
    models = []
    for entry in found:
        if name := json_fields.model_name(entry, "id", "name"):
            state = _STATES.get(json_fields.text(entry, "status", "value"), MODEL_STATE_UNSPECIFIED)
            model = json_fields.model(
                name,
                state=state,
                size_bytes=json_fields.whole(entry, "meta", "size"),
                parameter_size=parameter_words(json_fields.whole(entry, "meta", "n_params")),
                context_length=json_fields.whole(entry, "meta", "n_ctx_train") or None,
            )
            _capabilities(entry, []).write(model)
            models.append(model)
    return json_fields.by_name(models)


def parse_adapters(value: JsonValue) -> list[str]:
    """Parses `/lora-adapters`: the adapters' file names, without path and suffix.

    This includes adapters that the server has loaded but does not apply by itself
    (scale 0), because a request may apply them.
    """
    found = value if isinstance(value, list) else []
    paths = [json_fields.text(entry, "path", limit=4096) for entry in found[:_MAX_ADAPTERS]]
    names = [path.replace("\\", "/").rpartition("/")[2].removesuffix(".gguf") for path in paths]
    return [name[: json_fields.MAX_TEXT] for name in names if name]


def prompt_tokens(page: bytes) -> tuple[float | None, float | None]:
    """Reads from `/metrics` the numbers of prompt tokens and of cached ones among them."""
    found = prometheus_text.gauges(page, (_PROMPT, _PROMPT_CACHED))
    processed, cached = found.get(_PROMPT), found.get(_PROMPT_CACHED)
    if processed is None or cached is None:
        return None, None
    return processed + cached, cached


def _has_null_meta(entry: JsonValue) -> bool:
    return isinstance(entry, dict) and "meta" in entry and entry["meta"] is None


def _capabilities(entry: JsonValue, words: list[str]) -> Capabilities:
    capabilities = Capabilities(words)
    modalities = json_fields.items(entry, "architecture", "input_modalities")
    if modalities is not None:
        capabilities.add(VISION, is_there="image" in modalities)
        capabilities.add(AUDIO, is_there="audio" in modalities)
    return capabilities


def never_asleep(value: JsonValue) -> set[str]:
    """Returns the names of a router's models whose servers never go to sleep.

    The router lists the arguments of each model's server.
    """
    names = set()
    for entry in json_fields.items(value, "data") or ():
        arguments = json_fields.items(entry, "status", "args")
        if arguments is not None and "--sleep-idle-seconds" not in arguments:
            names.add(json_fields.model_name(entry, "id", "name"))
    return names


def context_of_slots(value: JsonValue) -> int | None:
    """Returns the context of one request in tokens; None if the slots do not show it."""
    slots = value if isinstance(value, list) else []
    sizes = [size for slot in slots[:4096] if (size := json_fields.whole(slot, "n_ctx"))]
    return min(sizes, default=None)


def parse_slots(value: JsonValue) -> Load | None:
    """Parses `/slots`: the number of slots and of busy ones; None if it is not a list."""
    if not isinstance(value, list):
        return None
    busy = sum(bool(json_fields.truth(slot, "is_processing")) for slot in value[:4096])
    return Load(running=busy, slots=len(value[:4096]))


def parse_metrics(page: bytes, slots: Load) -> Load:
    """Adds the figures of `/metrics` to those of the slots, whose running count wins."""
    found = prometheus_text.gauges(page, (_PROCESSING, _DEFERRED, _KV_CACHE))
    if not found:
        return slots
    processing = prometheus_text.count(found.get(_PROCESSING))
    return Load(
        running=slots.running if slots.running is not None else processing,
        waiting=prometheus_text.count(found.get(_DEFERRED)),
        slots=slots.slots,
        kv_cache_used_ratio=prometheus_text.share(found.get(_KV_CACHE)),
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
    """Returns a number of parameters as usually written ("8.0B"); "" if unknown."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count is not None and count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count) if count else ""
