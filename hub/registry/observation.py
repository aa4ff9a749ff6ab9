"""What a probe saw, in the form that the registry takes."""

from dataclasses import dataclass

from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy a server says it is; None if it does not say.

    `running` and `waiting` count requests, `slots` is how many requests it can serve at
    once, `kv_cache_used_ratio` and `prefix_cache_hit_ratio` lie in 0..1.
    """

    running: int | None = None
    waiting: int | None = None
    slots: int | None = None
    kv_cache_used_ratio: float | None = None
    prefix_cache_hit_ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The outcome of one probe.

    `error` is empty after a success. Otherwise it is one clear sentence, and the other
    facts are those that the probe obtained before it failed. `models` is None if the probe
    learned nothing about models, so that the known ones stay; a server that is loading may
    list them beside its `error`. Probes may return the same tuple again; it must not be
    changed. `answered`: the server answered at all, so after an error it is not dead, but
    misconfigured, busy or not ready. `is_loading`: the server is loading its model.
    `is_extra`: the probe came before its time, only because the server was loading; its
    failure does not count again. `address` is the IP address that answered: the same one
    for all addresses of the hub's own machine, "" if unknown.
    """

    checked_at_ms: int
    next_check_at_ms: int
    error: str = ""
    latency_ms: float | None = None
    backend: Backend = BACKEND_UNSPECIFIED
    version: str = ""
    models: tuple[Model, ...] | None = None
    load: Load | None = None
    answered: bool = False
    is_loading: bool = False
    is_extra: bool = False
    address: str = ""
