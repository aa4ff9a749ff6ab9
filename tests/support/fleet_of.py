"""Registries filled by hand, to test the selection of endpoints."""

from random import Random

from hub.registry.observation import Load, Observation
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_ENABLED,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    AdminState,
    Endpoint,
    Model,
)
from llmhub.v1.frame_pb2 import ReportResourcesRequest

NOW = 1_800_000_000_000
GIB = 2**30


def loaded(name: str = "m", **fields: object) -> Model:
    return Model(name=name, state=MODEL_STATE_LOADED, **fields)


def on_disk(name: str = "m", **fields: object) -> Model:
    return Model(name=name, state=MODEL_STATE_AVAILABLE, **fields)


def add(
    registry: Registry,
    id_: str,
    *models: Model,
    admin_state: AdminState = ADMIN_STATE_ENABLED,
    error: str = "",
    latency_ms: float | None = 1.0,
    load: Load | None = None,
    checked_ms: int = NOW,
    **fields: object,
) -> None:
    """Adds a healthy endpoint; with an `error`, one that failed two probes after a success."""
    registry.put_endpoint(Endpoint(id=id_, admin_state=ADMIN_STATE_ENABLED, **fields))
    seen = Observation(
        checked_at_ms=checked_ms,
        next_check_at_ms=checked_ms + 30_000,
        latency_ms=latency_ms,
        models=models,
        load=load,
    )
    registry.observe(id_, seen)
    if error:
        for _ in range(2):
            registry.observe(
                id_,
                Observation(
                    checked_at_ms=checked_ms, next_check_at_ms=checked_ms + 30_000, error=error
                ),
            )
    if admin_state != ADMIN_STATE_ENABLED:
        registry.put_endpoint(Endpoint(id=id_, admin_state=admin_state, **fields))


def report(registry: Registry, agent_id: str, now_ms: int = NOW, **figures: float) -> None:
    registry.report_resources(agent_id, ReportResourcesRequest(**figures), now_ms)


def change_at_random(registry: Registry, rng: Random) -> None:
    """Makes one random change to a fleet of six endpoints on two hosts; endpoints change hosts."""
    agent_id = rng.choice(["n0", "n1"])
    id_ = f"h{rng.randrange(6)}:1"
    match rng.randrange(6):
        case 0:
            registry.remove_endpoint(id_)
        case 1 | 2:
            used = rng.randrange(16) * GIB
            report(registry, agent_id, vram_used_bytes=used, vram_total_bytes=16 * GIB)
        case _:
            claimed = loaded("big", vram_bytes=rng.randrange(1, 8) * GIB)
            models = [model for model in (loaded(), on_disk("x"), claimed) if rng.random() < 0.7]
            error = "down" if rng.random() < 0.2 else ""
            add(registry, id_, *models, agent_id=agent_id, error=error)
