import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BreakerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BREAKER_STATE_UNSPECIFIED: _ClassVar[BreakerState]
    BREAKER_STATE_CLOSED: _ClassVar[BreakerState]
    BREAKER_STATE_OPEN: _ClassVar[BreakerState]
    BREAKER_STATE_HALF_OPEN: _ClassVar[BreakerState]

class Fault(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAULT_UNSPECIFIED: _ClassVar[Fault]
    FAULT_NO_ANSWER: _ClassVar[Fault]
    FAULT_DEAD: _ClassVar[Fault]
    FAULT_UNREACHABLE: _ClassVar[Fault]
    FAULT_NOT_SERVING: _ClassVar[Fault]
    FAULT_REQUESTS_FAIL: _ClassVar[Fault]

class Observer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBSERVER_UNSPECIFIED: _ClassVar[Observer]
    OBSERVER_PROBE: _ClassVar[Observer]
    OBSERVER_SIDECAR: _ClassVar[Observer]
    OBSERVER_MANUAL: _ClassVar[Observer]

class Backend(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKEND_UNSPECIFIED: _ClassVar[Backend]
    BACKEND_OLLAMA: _ClassVar[Backend]
    BACKEND_VLLM: _ClassVar[Backend]
    BACKEND_LLAMA_CPP: _ClassVar[Backend]
    BACKEND_LM_STUDIO: _ClassVar[Backend]
    BACKEND_SGLANG: _ClassVar[Backend]
    BACKEND_OPENAI: _ClassVar[Backend]
    BACKEND_LLAMA_SWAP: _ClassVar[Backend]
    BACKEND_LITELLM: _ClassVar[Backend]
    BACKEND_LEMONADE: _ClassVar[Backend]
    BACKEND_LMDEPLOY: _ClassVar[Backend]
    BACKEND_DOCKER_MODEL_RUNNER: _ClassVar[Backend]
    BACKEND_TEI: _ClassVar[Backend]

class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_UNSPECIFIED: _ClassVar[Source]
    SOURCE_MANUAL: _ClassVar[Source]
    SOURCE_AUTO: _ClassVar[Source]
    SOURCE_CONFIG: _ClassVar[Source]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_UNKNOWN: _ClassVar[Status]
    STATUS_HEALTHY: _ClassVar[Status]
    STATUS_UNHEALTHY: _ClassVar[Status]

class AdminState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ADMIN_STATE_UNSPECIFIED: _ClassVar[AdminState]
    ADMIN_STATE_ENABLED: _ClassVar[AdminState]
    ADMIN_STATE_DRAINING: _ClassVar[AdminState]
    ADMIN_STATE_DISABLED: _ClassVar[AdminState]

class ModelState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_STATE_UNSPECIFIED: _ClassVar[ModelState]
    MODEL_STATE_AVAILABLE: _ClassVar[ModelState]
    MODEL_STATE_LOADED: _ClassVar[ModelState]
    MODEL_STATE_LOADING: _ClassVar[ModelState]
BREAKER_STATE_UNSPECIFIED: BreakerState
BREAKER_STATE_CLOSED: BreakerState
BREAKER_STATE_OPEN: BreakerState
BREAKER_STATE_HALF_OPEN: BreakerState
FAULT_UNSPECIFIED: Fault
FAULT_NO_ANSWER: Fault
FAULT_DEAD: Fault
FAULT_UNREACHABLE: Fault
FAULT_NOT_SERVING: Fault
FAULT_REQUESTS_FAIL: Fault
OBSERVER_UNSPECIFIED: Observer
OBSERVER_PROBE: Observer
OBSERVER_SIDECAR: Observer
OBSERVER_MANUAL: Observer
BACKEND_UNSPECIFIED: Backend
BACKEND_OLLAMA: Backend
BACKEND_VLLM: Backend
BACKEND_LLAMA_CPP: Backend
BACKEND_LM_STUDIO: Backend
BACKEND_SGLANG: Backend
BACKEND_OPENAI: Backend
BACKEND_LLAMA_SWAP: Backend
BACKEND_LITELLM: Backend
BACKEND_LEMONADE: Backend
BACKEND_LMDEPLOY: Backend
BACKEND_DOCKER_MODEL_RUNNER: Backend
BACKEND_TEI: Backend
SOURCE_UNSPECIFIED: Source
SOURCE_MANUAL: Source
SOURCE_AUTO: Source
SOURCE_CONFIG: Source
STATUS_UNSPECIFIED: Status
STATUS_UNKNOWN: Status
STATUS_HEALTHY: Status
STATUS_UNHEALTHY: Status
ADMIN_STATE_UNSPECIFIED: AdminState
ADMIN_STATE_ENABLED: AdminState
ADMIN_STATE_DRAINING: AdminState
ADMIN_STATE_DISABLED: AdminState
MODEL_STATE_UNSPECIFIED: ModelState
MODEL_STATE_AVAILABLE: ModelState
MODEL_STATE_LOADED: ModelState
MODEL_STATE_LOADING: ModelState

class Endpoint(_message.Message):
    __slots__ = ("id", "host", "port", "scheme", "base_path", "name", "backend", "backend_detected", "source", "agent_id", "status", "admin_state", "models", "labels", "version", "registered_at", "last_checked_at", "next_check_at", "consecutive_failures", "last_error", "latency", "etag", "load", "sidecar_view", "fault", "flapping", "provenance", "same_server_as", "outcomes")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    BASE_PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    BACKEND_DETECTED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ADMIN_STATE_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTERED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_CHECKED_AT_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHECK_AT_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_VIEW_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    FLAPPING_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    SAME_SERVER_AS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    id: str
    host: str
    port: int
    scheme: str
    base_path: str
    name: str
    backend: Backend
    backend_detected: bool
    source: Source
    agent_id: str
    status: Status
    admin_state: AdminState
    models: _containers.RepeatedCompositeFieldContainer[Model]
    labels: _containers.ScalarMap[str, str]
    version: str
    registered_at: _timestamp_pb2.Timestamp
    last_checked_at: _timestamp_pb2.Timestamp
    next_check_at: _timestamp_pb2.Timestamp
    consecutive_failures: int
    last_error: str
    latency: _duration_pb2.Duration
    etag: str
    load: EndpointLoad
    sidecar_view: SidecarView
    fault: Fault
    flapping: Flapping
    provenance: Provenance
    same_server_as: str
    outcomes: _containers.RepeatedCompositeFieldContainer[ModelOutcomes]
    def __init__(self, id: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., scheme: _Optional[str] = ..., base_path: _Optional[str] = ..., name: _Optional[str] = ..., backend: _Optional[_Union[Backend, str]] = ..., backend_detected: _Optional[bool] = ..., source: _Optional[_Union[Source, str]] = ..., agent_id: _Optional[str] = ..., status: _Optional[_Union[Status, str]] = ..., admin_state: _Optional[_Union[AdminState, str]] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., version: _Optional[str] = ..., registered_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_checked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_check_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., consecutive_failures: _Optional[int] = ..., last_error: _Optional[str] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., etag: _Optional[str] = ..., load: _Optional[_Union[EndpointLoad, _Mapping]] = ..., sidecar_view: _Optional[_Union[SidecarView, _Mapping]] = ..., fault: _Optional[_Union[Fault, str]] = ..., flapping: _Optional[_Union[Flapping, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., same_server_as: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[ModelOutcomes, _Mapping]]] = ...) -> None: ...

class ModelOutcomes(_message.Message):
    __slots__ = ("model", "breaker", "reason", "changes_at", "on_trial", "ejections", "recent_requests", "failed_ratio", "time_to_first_token", "tokens_per_second")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CHANGES_AT_FIELD_NUMBER: _ClassVar[int]
    ON_TRIAL_FIELD_NUMBER: _ClassVar[int]
    EJECTIONS_FIELD_NUMBER: _ClassVar[int]
    RECENT_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_RATIO_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    model: str
    breaker: BreakerState
    reason: str
    changes_at: _timestamp_pb2.Timestamp
    on_trial: bool
    ejections: int
    recent_requests: float
    failed_ratio: float
    time_to_first_token: _duration_pb2.Duration
    tokens_per_second: float
    def __init__(self, model: _Optional[str] = ..., breaker: _Optional[_Union[BreakerState, str]] = ..., reason: _Optional[str] = ..., changes_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., on_trial: _Optional[bool] = ..., ejections: _Optional[int] = ..., recent_requests: _Optional[float] = ..., failed_ratio: _Optional[float] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tokens_per_second: _Optional[float] = ...) -> None: ...

class SidecarView(_message.Message):
    __slots__ = ("agent_id", "reachable", "error", "version", "reported_at", "expires_at")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPORTED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    reachable: bool
    error: str
    version: str
    reported_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, agent_id: _Optional[str] = ..., reachable: _Optional[bool] = ..., error: _Optional[str] = ..., version: _Optional[str] = ..., reported_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Flapping(_message.Message):
    __slots__ = ("reason", "trusted_at")
    REASON_FIELD_NUMBER: _ClassVar[int]
    TRUSTED_AT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    trusted_at: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[str] = ..., trusted_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("status", "backend", "version", "models")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    status: FactSource
    backend: FactSource
    version: FactSource
    models: FactSource
    def __init__(self, status: _Optional[_Union[FactSource, _Mapping]] = ..., backend: _Optional[_Union[FactSource, _Mapping]] = ..., version: _Optional[_Union[FactSource, _Mapping]] = ..., models: _Optional[_Union[FactSource, _Mapping]] = ...) -> None: ...

class FactSource(_message.Message):
    __slots__ = ("observer", "observed_at", "restored")
    OBSERVER_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    RESTORED_FIELD_NUMBER: _ClassVar[int]
    observer: Observer
    observed_at: _timestamp_pb2.Timestamp
    restored: bool
    def __init__(self, observer: _Optional[_Union[Observer, str]] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., restored: _Optional[bool] = ...) -> None: ...

class EndpointLoad(_message.Message):
    __slots__ = ("running", "waiting", "slots", "kv_cache_used_ratio", "prefix_cache_hit_ratio")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_USED_RATIO_FIELD_NUMBER: _ClassVar[int]
    PREFIX_CACHE_HIT_RATIO_FIELD_NUMBER: _ClassVar[int]
    running: int
    waiting: int
    slots: int
    kv_cache_used_ratio: float
    prefix_cache_hit_ratio: float
    def __init__(self, running: _Optional[int] = ..., waiting: _Optional[int] = ..., slots: _Optional[int] = ..., kv_cache_used_ratio: _Optional[float] = ..., prefix_cache_hit_ratio: _Optional[float] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "digest", "size_bytes", "family", "parameter_size", "quantization", "context_length", "state", "vram_bytes", "expires_at", "capabilities", "expected_load", "base", "capabilities_known", "absent_capabilities", "adapters")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SIZE_FIELD_NUMBER: _ClassVar[int]
    QUANTIZATION_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VRAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_LOAD_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_KNOWN_FIELD_NUMBER: _ClassVar[int]
    ABSENT_CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    ADAPTERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    size_bytes: int
    family: str
    parameter_size: str
    quantization: str
    context_length: int
    state: ModelState
    vram_bytes: int
    expires_at: _timestamp_pb2.Timestamp
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    expected_load: _duration_pb2.Duration
    base: str
    capabilities_known: bool
    absent_capabilities: _containers.RepeatedScalarFieldContainer[str]
    adapters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., family: _Optional[str] = ..., parameter_size: _Optional[str] = ..., quantization: _Optional[str] = ..., context_length: _Optional[int] = ..., state: _Optional[_Union[ModelState, str]] = ..., vram_bytes: _Optional[int] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., capabilities: _Optional[_Iterable[str]] = ..., expected_load: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., base: _Optional[str] = ..., capabilities_known: _Optional[bool] = ..., absent_capabilities: _Optional[_Iterable[str]] = ..., adapters: _Optional[_Iterable[str]] = ...) -> None: ...
