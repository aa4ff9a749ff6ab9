"""The hub's fleet during a measurement: endpoints, their models, agents and tokens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.base.clock import SystemClock
from hub.base.data_dir import STORE_FILE
from hub.registry.observation import Observation
from hub.server.first_start import prepare_data_dir
from hub.service.access.tokens import TokenRegistry
from hub.service.changes.registrar import Registration, merge
from hub.service.records import durable_fields, encode_endpoint, endpoint_key
from hub.stores.sqlite import SqliteStore
from hub.stores.store import Change, Operation, Put
from llmhub.v1.endpoint_pb2 import (
    BACKEND_OLLAMA,
    MODEL_STATE_AVAILABLE,
    MODEL_STATE_LOADED,
    SOURCE_MANUAL,
    Model,
)
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_SIDECAR

_BATCH = 2000
_FAMILIES = ("llama3.1", "qwen3", "gemma3", "phi4", "mistral-small", "deepseek-r1", "granite3.3")
_SIZES = ("4b", "8b", "14b", "32b")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The contents of the store: the admin token, `(agent_id, token)` pairs, endpoint ids."""

    admin_token: str
    agents: tuple[tuple[str, str], ...]
    endpoint_ids: tuple[str, ...]


async def store_fleet(
    data_dir: Path, *, agents: int = 0, endpoints: int = 0, addresses: Sequence[str] = ()
) -> Fleet:
    """Writes a fleet into a new store.

    The fleet has `endpoints` Ollama servers that do not exist, and the servers at `addresses`.
    """
    prepare_data_dir(data_dir)
    store = SqliteStore(data_dir / STORE_FILE)
    await store.open(_ignore)
    now_ms = SystemClock().now_ms()
    tokens = TokenRegistry()
    operations: list[Operation] = []
    admin_token, _, put = tokens.mint(ROLE_ADMIN, "", None, "benchmark", now_ms)
    operations.append(put)
    agent_tokens = []
    for number in range(agents):
        agent_id = f"host-{number:05d}"
        token, _, put = tokens.mint(ROLE_SIDECAR, agent_id, None, "", now_ms)
        agent_tokens.append((agent_id, token))
        operations.append(put)
    ids = [f"{endpoint_host(number)}:11434" for number in range(endpoints)]
    for number, id_ in enumerate(ids):
        wanted = Registration(
            host=endpoint_host(number),
            port=11434,
            source=SOURCE_MANUAL,
            backend=BACKEND_OLLAMA,
            labels={"site": f"hall-{number % 8}"},
            agent_id=f"host-{number:05d}",
        )
        endpoint = merge(id_, None, wanted, now_ms)
        operations.append(Put(endpoint_key(id_), encode_endpoint(durable_fields(endpoint))))
    for id_ in addresses:
        host, _, port = id_.rpartition(":")
        endpoint = merge(
            id_, None, Registration(host=host, port=int(port), source=SOURCE_MANUAL), now_ms
        )
        operations.append(Put(endpoint_key(id_), encode_endpoint(durable_fields(endpoint))))
    for first in range(0, len(operations), _BATCH):
        await store.commit(operations[first : first + _BATCH])
    await store.close()
    return Fleet(admin_token, tuple(agent_tokens), (*ids, *addresses))


def endpoint_host(number: int) -> str:
    """The address of one of up to 16 million hosts, all on loopback."""
    return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def observation(number: int, models: int, now_ms: int) -> Observation:
    """The result of a probe of a healthy Ollama server with that many models."""
    return Observation(
        checked_at_ms=now_ms,
        next_check_at_ms=now_ms + 30_000,
        latency_ms=1.5 + number % 7,
        backend=BACKEND_OLLAMA,
        version="0.12.6",
        models=tuple(_models(number, models)),
        answered=True,
    )


def _models(number: int, count: int) -> Iterable[Model]:
    for index in range(count):
        family = _FAMILIES[(number + index) % len(_FAMILIES)]
        size = _SIZES[index % len(_SIZES)]
        loaded = index == 0
        model = Model(
            name=f"{family}:{size}",
            digest=f"{number * 64 + index:064x}",
            size_bytes=4_661_224_676 + index,
            family=family,
            parameter_size=size.upper(),
            quantization="Q4_K_M",
            context_length=8192,
            state=MODEL_STATE_LOADED if loaded else MODEL_STATE_AVAILABLE,
            capabilities=["completion", "tools"],
        )
        if loaded:
            model.vram_bytes = 5_137_025_024
        yield model


def _ignore(_change: Change) -> None:
    """Ignores a change: the fleet is already known."""
