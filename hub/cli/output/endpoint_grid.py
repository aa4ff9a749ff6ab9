"""Endpoints as a table."""

from collections.abc import Sequence

from hub.cli.output.grids import BACKEND_WORDS, STATE_WORDS, STATUS_WORDS, Grid, time_text
from hub.registry.filters import answers
from llmhub.v1.endpoint_pb2 import (
    BREAKER_STATE_CLOSED,
    FAULT_DEAD,
    FAULT_UNREACHABLE,
    MODEL_STATE_LOADED,
    MODEL_STATE_UNSPECIFIED,
    Endpoint,
)

_SHOWN_MODELS = 3
_FAULTS = {
    FAULT_DEAD: " (its sidecar cannot reach it either)",
    FAULT_UNREACHABLE: " (but its sidecar can reach it)",
}


def endpoint_grid(found: Sequence[Endpoint]) -> Grid:
    """One row per endpoint.

    MODELS counts loaded and all models, and lists the loaded ones with their context in
    tokens. The first number is "?" if it is unknown: the server does not answer, or does not
    report what is in memory. LOAD has the running requests, the slots, and the waiting
    requests.
    """
    headings = (
        *("ID", "NAME", "BACKEND", "STATUS", "STATE", "MODELS"),
        *("VERSION", "LOAD", "CHECKED", "ERROR"),
    )
    rows = [
        (
            each.id,
            each.name,
            BACKEND_WORDS.get(each.backend, "-"),
            STATUS_WORDS.get(each.status, "-"),
            STATE_WORDS.get(each.admin_state, "enabled"),
            _models_text(each),
            each.version or "-",
            _load_text(each),
            time_text(each.last_checked_at, present=each.HasField("last_checked_at")),
            _error_text(each),
        )
        for each in found
    ]
    # A narrow terminal leaves out the least useful column first.
    optional = ("LOAD", "VERSION", "CHECKED", "NAME", "STATE", "BACKEND", "ERROR")
    return Grid(headings, rows, "Endpoints", optional, folds="ERROR", shortens="MODELS")


def _models_text(endpoint: Endpoint) -> str:
    loaded = [model for model in endpoint.models if model.state == MODEL_STATE_LOADED]
    are_known = not any(model.state == MODEL_STATE_UNSPECIFIED for model in endpoint.models)
    if not answers(endpoint) or not (loaded or are_known):
        return f"?/{len(endpoint.models)}" if endpoint.models else "-"
    names = [
        f"{model.name} ({model.context_length})" if model.HasField("context_length") else model.name
        for model in loaded[:_SHOWN_MODELS]
    ]
    if len(loaded) > _SHOWN_MODELS:
        names.append(f"+{len(loaded) - _SHOWN_MODELS}")
    return f"{len(loaded)}/{len(endpoint.models)} {', '.join(names)}".rstrip()


def _load_text(endpoint: Endpoint) -> str:
    load = endpoint.load
    parts = []
    if load.HasField("running") or load.HasField("slots"):
        running = str(load.running) if load.HasField("running") else "?"
        parts.append(f"{running}/{load.slots}" if load.HasField("slots") else running)
    if load.HasField("waiting"):
        parts.append(f"{load.waiting} waiting")
    if load.HasField("kv_cache_used_ratio"):
        parts.append(f"cache {load.kv_cache_used_ratio:.0%}")
    if load.HasField("prefix_cache_hit_ratio"):
        parts.append(f"prefix hits {load.prefix_cache_hit_ratio:.0%}")
    return ", ".join(parts) or "-"


def _error_text(endpoint: Endpoint) -> str:
    text = endpoint.last_error + _FAULTS.get(endpoint.fault, "")
    for each in endpoint.outcomes:
        if each.breaker != BREAKER_STATE_CLOSED:
            broken = f"requests for {each.model} fail: {each.reason}"
            text = broken + (f"; {text}" if text else "")
    if endpoint.HasField("flapping"):
        text = f"flapping: {endpoint.flapping.reason}" + (f"; {text}" if text else "")
    if endpoint.same_server_as:
        text = f"same server as {endpoint.same_server_as}" + (f"; {text}" if text else "")
    if endpoint.provenance.status.restored:
        text = "restored: not probed since the hub started" + (f"; {text}" if text else "")
    return text or "-"
