"""Builds requests from plain Python values. Times are in seconds."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from hub.base.address import AddressError, EndpointAddress, parse_endpoint_url
from hub.client.call_errors import ClientError
from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest, UpdateEndpointRequest
from llmhub.v1.endpoint_pb2 import (
    BACKEND_UNSPECIFIED,
    STATUS_UNSPECIFIED,
    AdminState,
    Backend,
    Endpoint,
    Status,
)
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
    require_known_facts: bool = False,
    lease_ttl_s: float | None = None,
    explain: bool = False,
    fallbacks: int = 0,
    affinity_key: str = "",
    wait_s: float | None = None,
    priority: int = 0,
    max_in_flight_per_slot: int = 0,
) -> SelectEndpointRequest:
    """See `SelectEndpointRequest` in the contract."""
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
        require_known_facts=require_known_facts,
        lease_ttl=duration(lease_ttl_s),
        explain=explain,
        fallbacks=fallbacks,
        affinity_key=affinity_key,
        wait=duration(wait_s),
        priority=priority,
        max_in_flight_per_slot=max_in_flight_per_slot,
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
    after_revision: int | None = None,
) -> WatchRegistryRequest:
    """See `WatchRegistryRequest` in the contract."""
    return WatchRegistryRequest(
        model=model,
        backend=backend,
        status=status,
        labels=labels,
        include_resources=include_resources,
        include_checks=include_checks,
        include_aliases=include_aliases,
        progress_interval=duration(progress_interval_s),
        after_revision=after_revision,
    )


def register_request(
    address: str | EndpointAddress,
    *,
    name: str = "",
    backend: Backend = BACKEND_UNSPECIFIED,
    labels: Mapping[str, str] | None = None,
    agent_id: str = "",
    api_key: str | None = None,
) -> RegisterEndpointRequest:
    """See `RegisterEndpointRequest` in the contract. Raises ClientError for a bad address."""
    if isinstance(address, str):
        try:
            address = parse_endpoint_url(address)
        except AddressError as error:
            raise ClientError(str(error)) from None
    return RegisterEndpointRequest(
        host=address.host,
        port=address.port,
        scheme=address.scheme,
        base_path=address.base_path,
        name=name,
        backend=backend,
        labels=labels,
        agent_id=agent_id,
        api_key=api_key,
    )


def update_request(
    endpoint_id: str,
    *,
    name: str | None = None,
    backend: Backend | None = None,
    labels: Mapping[str, str] | None = None,
    agent_id: str | None = None,
    admin_state: AdminState | None = None,
    etag: str = "",
    validate_only: bool = False,
) -> UpdateEndpointRequest:
    """See `UpdateEndpointRequest` in the contract; the mask names what is not None."""
    changes: dict[str, Any] = {
        "name": name,
        "backend": backend,
        "labels": labels,
        "agent_id": agent_id,
        "admin_state": admin_state,
    }
    given = {field: value for field, value in changes.items() if value is not None}
    return UpdateEndpointRequest(
        endpoint=Endpoint(id=endpoint_id, **given),
        update_mask=FieldMask(paths=list(given)),
        etag=etag,
        validate_only=validate_only,
    )


def duration(seconds: float | None) -> Duration | None:
    """Converts seconds to a Duration; None stays None."""
    if seconds is None:
        return None
    nanos = round(seconds * 1_000_000_000)
    return Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)
