"""What a probe saw: the words in which probes speak to the registry."""

from dataclasses import dataclass

from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, Backend, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy a server says it is; None where it does not tell.

    `running` and `waiting` count requests, `slots` is how many it serves at
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

    `error` is empty after a success; else one clear sentence for people, and
    the other facts are as far as the probe came. `models` is None where the
    probe learned nothing about models, so that those known stay; a server that
    loads may list them beside its `error`. The same tuple may come again and must
    not be changed. `answered` is
    True where the server answered anything: after an error it then lives, and
    is misconfigured, busy or not ready rather than dead. `is_loading` is True
    where it loads its model meanwhile, and `is_extra` where it was asked for that
    alone, before its time: such a probe is no further miss. `address` is the IP address
    that answered: one for all addresses of the hub's own machine, "" if unknown.
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
