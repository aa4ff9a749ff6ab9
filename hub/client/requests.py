"""Requests from plain Python values."""

from collections.abc import Iterable, Mapping

from google.protobuf.duration_pb2 import Duration

from llmhub.v1.endpoint_pb2 import BACKEND_UNSPECIFIED, STATUS_UNSPECIFIED, Backend, Status
from llmhub.v1.registry_service_pb2 import (
    STRATEGY_UNSPECIFIED,
    ScoreWeights,
    SelectEndpointRequest,
    Strategy,
    WatchRegistryRequest,
)


def select_request(
    model: str,
    *,
    count: int = 1,
    labels: Mapping[str, str] | None = None,
    min_context_length: int = 0,
    quantization: str = "",
    digest: str = "",
    family: str = "",
    capabilities: Iterable[str] = (),
    min_free_vram_bytes: int = 0,
    max_fact_age_s: float | None = None,
    strategy: Strategy = STRATEGY_UNSPECIFIED,
    weights: ScoreWeights | None = None,
    max_in_flight: int = 0,
    exclude_ids: Iterable[str] = (),
    lease_ttl_s: float | None = None,
    explain: bool = False,
) -> SelectEndpointRequest:
    """See `SelectEndpointRequest` in the contract; times are in seconds."""
    return SelectEndpointRequest(
        model=model,
        count=count,
        labels=labels,
        min_context_length=min_context_length,
        quantization=quantization,
        digest=digest,
        family=family,
        capabilities=capabilities,
        min_free_vram_bytes=min_free_vram_bytes,
        max_fact_age=duration(max_fact_age_s),
        strategy=strategy,
        weights=weights,
        max_in_flight=max_in_flight,
        exclude_ids=exclude_ids,
        lease_ttl=duration(lease_ttl_s),
        explain=explain,
    )


def watch_request(
    *,
    model: str = "",
    backend: Backend = BACKEND_UNSPECIFIED,
    status: Status = STATUS_UNSPECIFIED,
    labels: Mapping[str, str] | None = None,
    include_resources: bool = False,
    include_checks: bool = False,
    include_aliases: bool = False,
    progress_interval_s: float | None = None,
) -> WatchRegistryRequest:
    """See `WatchRegistryRequest` in the contract; times are in seconds."""
    return WatchRegistryRequest(
        model=model,
        backend=backend,
        status=status,
        labels=labels,
        include_resources=include_resources,
        include_checks=include_checks,
        include_aliases=include_aliases,
        progress_interval=duration(progress_interval_s),
    )


def duration(seconds: float | None) -> Duration | None:
    """A Duration; None stays None."""
    if seconds is None:
        return None
    nanos = round(seconds * 1_000_000_000)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)
