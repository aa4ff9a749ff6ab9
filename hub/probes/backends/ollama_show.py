"""Ollama's facts of a single model, from `POST /api/show`, requested once per digest.

The route reads the model's metadata and loads nothing. It costs Ollama a few milliseconds
of disk time, and the answer may have many kilobytes. So the hub looks up only a few models
per probe, one after another, each digest once. The facts are stored in `Asker.facts`,
which outlives the prober.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from hub.probes import json_fields
from hub.probes.answer import JsonValue
from hub.probes.asker import Asker
from hub.probes.faults import ProbeError
from hub.probes.model_facts import ModelFacts
from llmhub.v1.endpoint_pb2 import (
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Model,
)

MODELS_PER_PROBE: Final = 8
"""The maximum number of models that are looked up in one probe."""

# The time limit for all lookups of one probe. The list of models is what matters, so a
# server that is only slow here must not count as one that hangs.
_TIMEOUT_S = 1.5
# After a failed lookup, this many probes pass before the next attempt.
_PROBES_BETWEEN_FAILURES = 10


class Lookup:
    """Looks up the models of one server, a few per probe.

    `ask_about` is called with every list of models, `is_due` for every probe whose
    list has not changed.
    """

    __slots__ = ("_failed", "_is_pending", "_pause")

    def __init__(self) -> None:
        self._failed: set[str] = set()
        self._is_pending = False
        self._pause = 0

    def is_due(self) -> bool:
        """Whether lookups are pending, or failed long enough ago; counts one probe."""
        if self._is_pending or not self._failed:
            return self._is_pending
        self._pause -= 1
        if self._pause > 0:
            return False
        self._failed.clear()
        return True

    async def ask_about(self, ask: Asker, models: Sequence[Model]) -> bool:
        """Looks up models whose facts are unknown, those in memory first.

        Stores the facts in `ask.facts`. Returns whether there is more to look up and the
        next probe may come soon. Raises no fault of the server, because its list of models
        shows that it answers.
        """
        endpoint_id = ask.target.id
        ask.facts.keep_only(endpoint_id, {model.digest for model in models})
        # A model on ollama.com would be looked up there.
        unknown = {
            model.digest: model
            for model in sorted(models, key=lambda model: model.state != MODEL_STATE_LOADED)
            if model.digest
            and model.state in (MODEL_STATE_LOADED, MODEL_STATE_AVAILABLE)
            and not (model.capabilities_known and model.HasField("context_length"))
            and model.digest not in self._failed
            and ask.facts.get(endpoint_id, model.digest) is None
        }
        loop = asyncio.get_running_loop()
        waiting = deque(unknown.values())
        may_come_soon = True
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                for _ in range(min(len(waiting), MODELS_PER_PROBE)):
                    # If the whole fleet has too many lookups, the rest waits for the next
                    # probe at its usual time.
                    if not (may_come_soon := ask.facts.may_ask(loop.time())):
                        break
                    await self._look_up(ask, waiting[0])
                    waiting.popleft()
        except TimeoutError:
            self._fail(waiting.popleft().digest)
            may_come_soon = False
        self._is_pending = bool(waiting)
        return self._is_pending and may_come_soon

    async def _look_up(self, ask: Asker, model: Model) -> None:
        try:
            answer = await ask.post("/api/show", {"model": model.name})
            facts = parse_show(answer.json_or_none()) if answer.ok else None
        except ProbeError:
            facts = None
        if facts is None:
            self._fail(model.digest)
        else:
            ask.facts.put(ask.target.id, model.digest, facts)

    def _fail(self, digest: str) -> None:
        self._failed.add(digest)
        self._pause = _PROBES_BETWEEN_FAILURES


def parse_show(value: JsonValue) -> ModelFacts | None:
    """Parses `/api/show`; None if it is not such an answer.

    The trained context is in `model_info`, under a key that begins with the
    architecture ("llama.context_length").
    """
    if not isinstance(value, dict) or not ({"model_info", "details", "capabilities"} & set(value)):
        return None
    architecture = json_fields.text(value, "model_info", "general.architecture")
    has_capabilities = json_fields.items(value, "capabilities") is not None
    return ModelFacts(
        capabilities=tuple(json_fields.words(value, "capabilities")) if has_capabilities else None,
        context_length=json_fields.whole(value, "model_info", f"{architecture}.context_length")
        or None,
        family=json_fields.text(value, "details", "family") or architecture,
    )


def learned(model: Model, facts: ModelFacts | None) -> None:
    """Adds the facts of a lookup to a model; facts from the lists take precedence."""
    if facts is None or model.state == MODEL_STATE_UNSPECIFIED:
        return
    if facts.capabilities is not None and not model.capabilities_known:
        model.capabilities[:] = facts.capabilities
        model.capabilities_known = True
    if facts.context_length and not model.HasField("context_length"):
        model.context_length = facts.context_length
    if facts.family and not model.HasField("family"):
        model.family = facts.family
