"""Hugging Face's Text Embeddings Inference: one model that embeds, reranks or classifies.

`/info` has all facts of the model. `/health` may run the model, so it is never requested.
`/metrics` has the length of the queue.
"""

from dataclasses import dataclass

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends import prometheus_text
from hub.probes.backends.capabilities import CLASSIFICATION, EMBEDDING, RERANK
from hub.probes.backends.prober import Cadence, Prober, Sighting
from hub.probes.faults import WrongKind
from hub.registry.observation import Load
from llmhub.v1.endpoint_pb2 import BACKEND_TEI, MODEL_STATE_LOADED, Model

_QUEUE = "te_queue_size"
_TYPES = {"embedding": EMBEDDING, "reranker": RERANK, "classifier": CLASSIFICATION}


@dataclass(frozen=True, slots=True)
class Info:
    """The content of `/info`: the model and the server's version."""

    model: Model
    version: str


class TextEmbeddingsProber(Prober):
    """Probes a Text Embeddings Inference server with two requests per probe."""

    kind = BACKEND_TEI
    title = "Text Embeddings Inference"

    __slots__ = ("_cadence", "_has_metrics")

    def __init__(self) -> None:
        self._cadence = Cadence()
        self._has_metrics = True

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        info = parse_info((await ask.get("/info")).json())
        if info is None:
            raise WrongKind("answered /info without the model of a Text Embeddings Inference")
        if self._cadence.due():
            self._has_metrics = True
        load = None
        if self._has_metrics:
            page = await ask.get("/metrics")
            self._has_metrics = page.ok
            load = parse_metrics(page.body) if page.ok else None
        return Sighting.of([info.model], info.version, load)


def parse_info(value: JsonValue) -> Info | None:
    """Parses `/info`; None if it is that of another kind of server."""
    name = json_fields.model_name(value, "model_id")
    kinds = json_fields.member(value, "model_type")
    context = json_fields.whole(value, "max_input_length")
    if not name or not context or not isinstance(kinds, dict):
        return None
    capabilities = [word for kind, word in _TYPES.items() if kind in kinds]
    model = json_fields.model(
        name,
        state=MODEL_STATE_LOADED,
        digest=json_fields.text(value, "model_sha"),
        quantization=json_fields.text(value, "model_dtype"),
        context_length=context,
        capabilities=capabilities,
        are_capabilities_known=bool(capabilities),
    )
    return Info(model, json_fields.text(value, "version", limit=json_fields.MAX_VERSION))


def parse_metrics(page: bytes) -> Load | None:
    """Parses `/metrics`; None if it does not have the length of the queue."""
    waiting = prometheus_text.count(prometheus_text.gauges(page, (_QUEUE,)).get(_QUEUE))
    return Load(waiting=waiting) if waiting is not None else None
