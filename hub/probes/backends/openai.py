"""Any server with an OpenAI-compatible model list, which shows only the names of models.

Most other kinds of servers also have this list, `GET /v1/models`.
"""

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.backends.prober import Prober, Sighting
from hub.probes.faults import WrongKind
from llmhub.v1.endpoint_pb2 import BACKEND_OPENAI, MODEL_STATE_UNSPECIFIED, Model, ModelState


def parse_list(
    value: JsonValue, *, owner: str = "", state: ModelState = MODEL_STATE_UNSPECIFIED
) -> list[Model]:
    """Parses `/v1/models`: every model in the given state, sorted by name.

    A LoRA adapter is a model whose `parent` names its base. With `owner`, at least
    one model must have it as `owned_by`, unless the list is empty. Raises WrongKind
    if there is no list, or no model of that owner.
    """
    found = json_fields.items(value, "data")
    if found is None:
        raise WrongKind("answered /v1/models without a list of models")
    if owner and found:
        owners = {json_fields.text(entry, "owned_by") for entry in found}
        if owner not in owners:
            raise WrongKind(f"lists no models of {owner} at /v1/models")
    models = []
    for entry in found:
        if name := json_fields.model_name(entry, "id"):
            base = json_fields.model_name(entry, "parent")
            models.append(
                json_fields.model(
                    name,
                    state=state,
                    context_length=json_fields.whole(entry, "max_model_len") or None,
                    base=base if base != name else "",
                )
            )
    return json_fields.by_name(models)


class OpenAiProber(Prober):
    """Probes a server with only `GET /v1/models`, one request per probe."""

    kind = BACKEND_OPENAI
    title = "an OpenAI-compatible server"

    __slots__ = ()

    async def probe(self, ask: Asker) -> Sighting:
        """See `Prober`."""
        return Sighting.of(parse_list((await ask.get("/v1/models")).json()))
