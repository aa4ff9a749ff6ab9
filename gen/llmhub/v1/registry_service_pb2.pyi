import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmhub.v1 import endpoint_pb2 as _endpoint_pb2
from llmhub.v1 import model_alias_pb2 as _model_alias_pb2
from llmhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATEGY_UNSPECIFIED: _ClassVar[Strategy]
    STRATEGY_LEAST_LOADED: _ClassVar[Strategy]
    STRATEGY_PREFER_LOADED: _ClassVar[Strategy]
    STRATEGY_ROUND_ROBIN: _ClassVar[Strategy]
    STRATEGY_LEAST_LATENCY: _ClassVar[Strategy]
    STRATEGY_WEIGHTED: _ClassVar[Strategy]

class Rejection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTION_UNSPECIFIED: _ClassVar[Rejection]
    REJECTION_DISABLED: _ClassVar[Rejection]
    REJECTION_DRAINING: _ClassVar[Rejection]
    REJECTION_NOT_HEALTHY: _ClassVar[Rejection]
    REJECTION_LABELS: _ClassVar[Rejection]
    REJECTION_MODEL: _ClassVar[Rejection]
    REJECTION_CAPABILITIES: _ClassVar[Rejection]
    REJECTION_VRAM: _ClassVar[Rejection]
    REJECTION_STALE: _ClassVar[Rejection]
    REJECTION_IN_FLIGHT: _ClassVar[Rejection]
    REJECTION_EXCLUDED: _ClassVar[Rejection]
    REJECTION_UNKNOWN: _ClassVar[Rejection]
    REJECTION_SAME_SERVER: _ClassVar[Rejection]
    REJECTION_CIRCUIT_OPEN: _ClassVar[Rejection]

class OutcomeResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_RESULT_UNSPECIFIED: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_OK: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_CONNECT_FAILED: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_TIMED_OUT: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_SERVER_ERROR: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_BROKEN_OFF: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_REFUSED: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_OVERLOADED: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_REQUEST_REJECTED: _ClassVar[OutcomeResult]
    OUTCOME_RESULT_CANCELLED: _ClassVar[OutcomeResult]
STRATEGY_UNSPECIFIED: Strategy
STRATEGY_LEAST_LOADED: Strategy
STRATEGY_PREFER_LOADED: Strategy
STRATEGY_ROUND_ROBIN: Strategy
STRATEGY_LEAST_LATENCY: Strategy
STRATEGY_WEIGHTED: Strategy
REJECTION_UNSPECIFIED: Rejection
REJECTION_DISABLED: Rejection
REJECTION_DRAINING: Rejection
REJECTION_NOT_HEALTHY: Rejection
REJECTION_LABELS: Rejection
REJECTION_MODEL: Rejection
REJECTION_CAPABILITIES: Rejection
REJECTION_VRAM: Rejection
REJECTION_STALE: Rejection
REJECTION_IN_FLIGHT: Rejection
REJECTION_EXCLUDED: Rejection
REJECTION_UNKNOWN: Rejection
REJECTION_SAME_SERVER: Rejection
REJECTION_CIRCUIT_OPEN: Rejection
OUTCOME_RESULT_UNSPECIFIED: OutcomeResult
OUTCOME_RESULT_OK: OutcomeResult
OUTCOME_RESULT_CONNECT_FAILED: OutcomeResult
OUTCOME_RESULT_TIMED_OUT: OutcomeResult
OUTCOME_RESULT_SERVER_ERROR: OutcomeResult
OUTCOME_RESULT_BROKEN_OFF: OutcomeResult
OUTCOME_RESULT_REFUSED: OutcomeResult
OUTCOME_RESULT_OVERLOADED: OutcomeResult
OUTCOME_RESULT_REQUEST_REJECTED: OutcomeResult
OUTCOME_RESULT_CANCELLED: OutcomeResult

class GetEndpointRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetEndpointResponse(_message.Message):
    __slots__ = ("endpoint",)
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ...) -> None: ...

class ListEndpointsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "model", "backend", "status", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    model: str
    backend: _endpoint_pb2.Backend
    status: _endpoint_pb2.Status
    labels: _containers.ScalarMap[str, str]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., model: _Optional[str] = ..., backend: _Optional[_Union[_endpoint_pb2.Backend, str]] = ..., status: _Optional[_Union[_endpoint_pb2.Status, str]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListEndpointsResponse(_message.Message):
    __slots__ = ("endpoints", "next_page_token", "revision")
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[_endpoint_pb2.Endpoint]
    next_page_token: str
    revision: int
    def __init__(self, endpoints: _Optional[_Iterable[_Union[_endpoint_pb2.Endpoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token", "revision")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_resources_pb2.ModelSummary]
    next_page_token: str
    revision: int
    def __init__(self, models: _Optional[_Iterable[_Union[_resources_pb2.ModelSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListModelAliasesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelAliasesResponse(_message.Message):
    __slots__ = ("aliases", "next_page_token", "revision")
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[_model_alias_pb2.ModelAlias]
    next_page_token: str
    revision: int
    def __init__(self, aliases: _Optional[_Iterable[_Union[_model_alias_pb2.ModelAlias, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class GetResourcesRequest(_message.Message):
    __slots__ = ("agent_id",)
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    def __init__(self, agent_id: _Optional[str] = ...) -> None: ...

class GetResourcesResponse(_message.Message):
    __slots__ = ("resources", "vram")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    VRAM_FIELD_NUMBER: _ClassVar[int]
    resources: _resources_pb2.HostResources
    vram: _resources_pb2.VramAccount
    def __init__(self, resources: _Optional[_Union[_resources_pb2.HostResources, _Mapping]] = ..., vram: _Optional[_Union[_resources_pb2.VramAccount, _Mapping]] = ...) -> None: ...

class GetSnapshotRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetSnapshotResponse(_message.Message):
    __slots__ = ("snapshot", "next_page_token")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    snapshot: _resources_pb2.Snapshot
    next_page_token: str
    def __init__(self, snapshot: _Optional[_Union[_resources_pb2.Snapshot, _Mapping]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRegistryRequest(_message.Message):
    __slots__ = ("after_revision", "include_resources", "model", "backend", "status", "labels", "include_checks", "include_aliases", "progress_interval")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_CHECKS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ALIASES_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    include_resources: bool
    model: str
    backend: _endpoint_pb2.Backend
    status: _endpoint_pb2.Status
    labels: _containers.ScalarMap[str, str]
    include_checks: bool
    include_aliases: bool
    progress_interval: _duration_pb2.Duration
    def __init__(self, after_revision: _Optional[int] = ..., include_resources: _Optional[bool] = ..., model: _Optional[str] = ..., backend: _Optional[_Union[_endpoint_pb2.Backend, str]] = ..., status: _Optional[_Union[_endpoint_pb2.Status, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., include_checks: _Optional[bool] = ..., include_aliases: _Optional[bool] = ..., progress_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchRegistryResponse(_message.Message):
    __slots__ = ("events", "revision")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_resources_pb2.RegistryEvent]
    revision: int
    def __init__(self, events: _Optional[_Iterable[_Union[_resources_pb2.RegistryEvent, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class SelectEndpointRequest(_message.Message):
    __slots__ = ("model", "count", "labels", "min_context_length", "quantization", "digest", "family", "capabilities", "min_free_vram_bytes", "max_fact_age", "strategy", "weights", "lease_ttl", "explain", "max_in_flight", "exclude_ids", "require_known_facts", "fallbacks", "affinity_key", "wait", "priority", "max_in_flight_per_slot")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MIN_CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    MIN_FREE_VRAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_FACT_AGE_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_TTL_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_KNOWN_FACTS_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_PER_SLOT_FIELD_NUMBER: _ClassVar[int]
    model: str
    count: int
    labels: _containers.ScalarMap[str, str]
    min_context_length: int
    quantization: str
    digest: str
    family: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    min_free_vram_bytes: int
    max_fact_age: _duration_pb2.Duration
    strategy: Strategy
    weights: ScoreWeights
    lease_ttl: _duration_pb2.Duration
    explain: bool
    max_in_flight: int
    exclude_ids: _containers.RepeatedScalarFieldContainer[str]
    require_known_facts: bool
    fallbacks: int
    affinity_key: str
    wait: _duration_pb2.Duration
    priority: int
    max_in_flight_per_slot: int
    def __init__(self, model: _Optional[str] = ..., count: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., min_context_length: _Optional[int] = ..., quantization: _Optional[str] = ..., digest: _Optional[str] = ..., family: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., min_free_vram_bytes: _Optional[int] = ..., max_fact_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., strategy: _Optional[_Union[Strategy, str]] = ..., weights: _Optional[_Union[ScoreWeights, _Mapping]] = ..., lease_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., explain: _Optional[bool] = ..., max_in_flight: _Optional[int] = ..., exclude_ids: _Optional[_Iterable[str]] = ..., require_known_facts: _Optional[bool] = ..., fallbacks: _Optional[int] = ..., affinity_key: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., priority: _Optional[int] = ..., max_in_flight_per_slot: _Optional[int] = ...) -> None: ...

class ScoreWeights(_message.Message):
    __slots__ = ("loaded", "health", "cpu", "ram", "vram", "queue", "in_flight", "latency", "first_token", "throughput", "failures")
    LOADED_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    CPU_FIELD_NUMBER: _ClassVar[int]
    RAM_FIELD_NUMBER: _ClassVar[int]
    VRAM_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    THROUGHPUT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    loaded: float
    health: float
    cpu: float
    ram: float
    vram: float
    queue: float
    in_flight: float
    latency: float
    first_token: float
    throughput: float
    failures: float
    def __init__(self, loaded: _Optional[float] = ..., health: _Optional[float] = ..., cpu: _Optional[float] = ..., ram: _Optional[float] = ..., vram: _Optional[float] = ..., queue: _Optional[float] = ..., in_flight: _Optional[float] = ..., latency: _Optional[float] = ..., first_token: _Optional[float] = ..., throughput: _Optional[float] = ..., failures: _Optional[float] = ...) -> None: ...

class SelectEndpointResponse(_message.Message):
    __slots__ = ("selections", "revision", "candidates")
    SELECTIONS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    selections: _containers.RepeatedCompositeFieldContainer[Selection]
    revision: int
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, selections: _Optional[_Iterable[_Union[Selection, _Mapping]]] = ..., revision: _Optional[int] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class Selection(_message.Message):
    __slots__ = ("endpoint", "score", "lease_id", "lease_expires_at", "model", "affinity_rank", "waited")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_RANK_FIELD_NUMBER: _ClassVar[int]
    WAITED_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    score: float
    lease_id: str
    lease_expires_at: _timestamp_pb2.Timestamp
    model: str
    affinity_rank: int
    waited: _duration_pb2.Duration
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ..., score: _Optional[float] = ..., lease_id: _Optional[str] = ..., lease_expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., model: _Optional[str] = ..., affinity_rank: _Optional[int] = ..., waited: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("endpoint_id", "model", "score", "parts", "rejection", "detail", "in_flight")
    class PartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    REJECTION_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    endpoint_id: str
    model: str
    score: float
    parts: _containers.ScalarMap[str, float]
    rejection: Rejection
    detail: str
    in_flight: int
    def __init__(self, endpoint_id: _Optional[str] = ..., model: _Optional[str] = ..., score: _Optional[float] = ..., parts: _Optional[_Mapping[str, float]] = ..., rejection: _Optional[_Union[Rejection, str]] = ..., detail: _Optional[str] = ..., in_flight: _Optional[int] = ...) -> None: ...

class ReleaseSelectionRequest(_message.Message):
    __slots__ = ("lease_id", "outcome")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    outcome: Outcome
    def __init__(self, lease_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, _Mapping]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("result", "time_to_first_token", "duration", "output_tokens", "prompt_tokens", "cached_tokens", "request_bytes", "response_bytes")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    result: OutcomeResult
    time_to_first_token: _duration_pb2.Duration
    duration: _duration_pb2.Duration
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int
    request_bytes: int
    response_bytes: int
    def __init__(self, result: _Optional[_Union[OutcomeResult, str]] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., output_tokens: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., request_bytes: _Optional[int] = ..., response_bytes: _Optional[int] = ...) -> None: ...

class ReleaseSelectionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
