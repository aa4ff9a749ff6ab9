"""llama.cpp's llama-server, with one model or as a router over many.

While it loads its model, every route answers 503 "Loading model". The model list
needs no key where all else does, so `/props` tells whether the key is right.

A request to `/slots` or `/metrics` is a task in the server's queue: it wakes a
server that put its model to sleep (`--sleep-idle-seconds`), which loads it again,
and it starts the idle time anew. `/props` and the lists do neither. So a sleeping
server is asked for nothing more, and one that was ever seen asleep is no longer
asked for its load at all, or it would not sleep again. As a router the server
starts another one per model as soon as a request names the model: what names one
is asked with `autoload=false`, and only of loaded ones that do not sleep.
"""

from dataclasses import dataclass

from hub.probes import json_fields
from hub.probes.backends import prometheus_text
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.faults import NotReady, WrongKind
from hub.probes.probe_client import Asker, JsonValue
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

# How many loaded models of a router are asked for their slots in one probe.
_ROUTER_SLOTS = 8

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
    """What `/props` tells of the server itself."""

    build: str
    is_router: bool
    is_sleeping: bool
    slots: int | None
    context: int | None


class LlamaCppProber(Prober):
    """Probes a llama-server: up to four requests; a router: three and one per loaded model."""

    kind = BACKEND_LLAMA_CPP
    title = "llama.cpp server"

    __slots__ = ("_cadence", "_has_metrics", "_has_slots", "_may_sleep")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_slots = True
        self._has_metrics = True
        self._may_sleep = False

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        listed = await ask.get("/v1/models")
        if listed.status == 503 and b"oading" in listed.body:
            raise NotReady("is loading its model", is_loading=True)
        value = listed.json()
        if self._cadence.due():
            self._has_slots = self._has_metrics = True
        answer = await ask.get("/props")
        if answer.status in (401, 403):
            answer.require_ok()
        props = parse_props(answer.json_or_none() if answer.ok else None)
        if props.is_router:
            return await self._probe_router(ask, props)
        models = parse_models(value, is_sleeping=props.is_sleeping)
        self._may_sleep = self._may_sleep or props.is_sleeping
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
            load = parse_metrics(page.body, load) if page.ok else load
        for model in models:
            if context is not None:
                model.context_length = context
        return Sighting(json_fields.shared(models), props.build, load)

    async def _probe_router(self, ask: Asker, props: Props) -> Sighting:
        value = (await ask.get("/models")).json()
        models = parse_router(value)
        restless = never_asleep(value)
        loads: list[Load] = []
        for model in models:
            if model.state != MODEL_STATE_LOADED or model.name not in restless:
                continue
            if len(loads) == _ROUTER_SLOTS:
                break
            answer = await ask.get("/slots", {"model": model.name, "autoload": "false"})
            slots = answer.json_or_none() if answer.ok else None
            context = context_of_slots(slots)
            if context is not None:
                model.context_length = context
            if (load := parse_slots(slots)) is not None:
                loads.append(load)
        return Sighting(json_fields.shared(models), props.build, add_up(loads))


def parse_props(value: JsonValue) -> Props:
    """Parses `/props`; what is missing is unknown."""
    return Props(
        build=json_fields.text(value, "build_info", limit=json_fields.MAX_VERSION),
        is_router=json_fields.text(value, "role") == "router",
        is_sleeping=bool(json_fields.truth(value, "is_sleeping")),
        slots=json_fields.whole(value, "total_slots"),
        context=json_fields.whole(value, "default_generation_settings", "n_ctx") or None,
    )


def parse_models(value: JsonValue, *, is_sleeping: bool = False) -> list[Model]:
    """Parses `/v1/models` of a server with one model: loaded unless the server sleeps.

    The context is the one in force where the list tells it, as newer builds do,
    else the one that the model was trained for. Raises WrongKind where there is
    no list or it is another's.
    """
    found = json_fields.items(value, "data")
    if found is None or (
        found and not any(json_fields.text(entry, "owned_by") == "llamacpp" for entry in found)
    ):
        raise WrongKind("answered /v1/models without llama.cpp's list of models")
    models = []
    for entry in found:
        if name := json_fields.model_name(entry, "id"):
            parameters = json_fields.whole(entry, "meta", "n_params")
            models.append(
                json_fields.model(
                    name,
                    state=MODEL_STATE_AVAILABLE if is_sleeping else MODEL_STATE_LOADED,
                    size_bytes=json_fields.whole(entry, "meta", "size"),
                    parameter_size=parameter_words(parameters),
                    quantization=json_fields.text(entry, "meta", "ftype").removeprefix(
                        "(guessed) "
                    ),
                    context_length=json_fields.whole(entry, "meta", "n_ctx")
                    or json_fields.whole(entry, "meta", "n_ctx_train")
                    or None,
                )
            )
    return json_fields.by_name(models)


def parse_router(value: JsonValue) -> list[Model]:
    """Parses a router's `/models`: each model with its own state.

    Raises WrongKind where there is no list.
    """
    found = json_fields.items(value, "data")
    if found is None:
        raise WrongKind("answered /models without a list of models")
    models = []
    for entry in found:
        if name := json_fields.model_name(entry, "id", "name"):
            state = _STATES.get(json_fields.text(entry, "status", "value"), MODEL_STATE_UNSPECIFIED)
            models.append(
                json_fields.model(
                    name,
                    state=state,
                    size_bytes=json_fields.whole(entry, "meta", "size"),
                    context_length=json_fields.whole(entry, "meta", "n_ctx_train") or None,
                )
            )
    return json_fields.by_name(models)


def never_asleep(value: JsonValue) -> set[str]:
    """Returns the names of a router's models whose servers run without an idle time.

    The router tells the arguments of each one's server.
    """
    names = set()
    for entry in json_fields.items(value, "data") or ():
        arguments = json_fields.items(entry, "status", "args")
        if arguments is not None and "--sleep-idle-seconds" not in arguments:
            names.add(json_fields.model_name(entry, "id", "name"))
    return names


def context_of_slots(value: JsonValue) -> int | None:
    """Returns the context in tokens that one request has; None where slots do not tell."""
    slots = value if isinstance(value, list) else []
    sizes = [size for slot in slots[:4096] if (size := json_fields.whole(slot, "n_ctx"))]
    return min(sizes, default=None)


def parse_slots(value: JsonValue) -> Load | None:
    """Parses `/slots`: how many there are and how many work; None where it is no list."""
    if not isinstance(value, list):
        return None
    busy = sum(bool(json_fields.truth(slot, "is_processing")) for slot in value[:4096])
    return Load(running=busy, slots=len(value[:4096]))


def parse_metrics(page: bytes, slots: Load) -> Load:
    """Parses `/metrics`, adding to what the slots told; their count of running ones wins."""
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
    """Returns a number of parameters as people write it ("8.0B"); "" for none."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count is not None and count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count) if count else ""
