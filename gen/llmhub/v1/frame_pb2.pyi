import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmhub.v1 import endpoint_pb2 as _endpoint_pb2
from llmhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelActionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_ACTION_KIND_UNSPECIFIED: _ClassVar[ModelActionKind]
    MODEL_ACTION_KIND_LOAD: _ClassVar[ModelActionKind]
    MODEL_ACTION_KIND_UNLOAD: _ClassVar[ModelActionKind]

class ModelActionOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_ACTION_OUTCOME_UNSPECIFIED: _ClassVar[ModelActionOutcome]
    MODEL_ACTION_OUTCOME_DONE: _ClassVar[ModelActionOutcome]
    MODEL_ACTION_OUTCOME_REFUSED: _ClassVar[ModelActionOutcome]
    MODEL_ACTION_OUTCOME_UNSUPPORTED: _ClassVar[ModelActionOutcome]
    MODEL_ACTION_OUTCOME_FAILED: _ClassVar[ModelActionOutcome]
    MODEL_ACTION_OUTCOME_UNKNOWN: _ClassVar[ModelActionOutcome]
MODEL_ACTION_KIND_UNSPECIFIED: ModelActionKind
MODEL_ACTION_KIND_LOAD: ModelActionKind
MODEL_ACTION_KIND_UNLOAD: ModelActionKind
MODEL_ACTION_OUTCOME_UNSPECIFIED: ModelActionOutcome
MODEL_ACTION_OUTCOME_DONE: ModelActionOutcome
MODEL_ACTION_OUTCOME_REFUSED: ModelActionOutcome
MODEL_ACTION_OUTCOME_UNSUPPORTED: ModelActionOutcome
MODEL_ACTION_OUTCOME_FAILED: ModelActionOutcome
MODEL_ACTION_OUTCOME_UNKNOWN: ModelActionOutcome

class SidecarFrame(_message.Message):
    __slots__ = ("identify", "ollama_report", "endpoint_report", "resource_report", "ping", "model_action_result")
    IDENTIFY_FIELD_NUMBER: _ClassVar[int]
    OLLAMA_REPORT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_REPORT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_REPORT_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    MODEL_ACTION_RESULT_FIELD_NUMBER: _ClassVar[int]
    identify: IdentifyRequest
    ollama_report: ReportOllamaRequest
    endpoint_report: ReportEndpointRequest
    resource_report: ReportResourcesRequest
    ping: PingRequest
    model_action_result: ReportModelActionRequest
    def __init__(self, identify: _Optional[_Union[IdentifyRequest, _Mapping]] = ..., ollama_report: _Optional[_Union[ReportOllamaRequest, _Mapping]] = ..., endpoint_report: _Optional[_Union[ReportEndpointRequest, _Mapping]] = ..., resource_report: _Optional[_Union[ReportResourcesRequest, _Mapping]] = ..., ping: _Optional[_Union[PingRequest, _Mapping]] = ..., model_action_result: _Optional[_Union[ReportModelActionRequest, _Mapping]] = ...) -> None: ...

class HubFrame(_message.Message):
    __slots__ = ("identified", "ollama_report_ack", "endpoint_report_ack", "pong", "error", "rate_limit_warning", "rate_limited", "model_action")
    IDENTIFIED_FIELD_NUMBER: _ClassVar[int]
    OLLAMA_REPORT_ACK_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_REPORT_ACK_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_WARNING_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITED_FIELD_NUMBER: _ClassVar[int]
    MODEL_ACTION_FIELD_NUMBER: _ClassVar[int]
    identified: IdentifyResponse
    ollama_report_ack: ReportOllamaResponse
    endpoint_report_ack: ReportEndpointResponse
    pong: PingResponse
    error: FrameError
    rate_limit_warning: RateLimitWarning
    rate_limited: RateLimited
    model_action: ModelAction
    def __init__(self, identified: _Optional[_Union[IdentifyResponse, _Mapping]] = ..., ollama_report_ack: _Optional[_Union[ReportOllamaResponse, _Mapping]] = ..., endpoint_report_ack: _Optional[_Union[ReportEndpointResponse, _Mapping]] = ..., pong: _Optional[_Union[PingResponse, _Mapping]] = ..., error: _Optional[_Union[FrameError, _Mapping]] = ..., rate_limit_warning: _Optional[_Union[RateLimitWarning, _Mapping]] = ..., rate_limited: _Optional[_Union[RateLimited, _Mapping]] = ..., model_action: _Optional[_Union[ModelAction, _Mapping]] = ...) -> None: ...

class IdentifyRequest(_message.Message):
    __slots__ = ("agent_id", "token", "name", "status", "capabilities", "ollama_url")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    OLLAMA_URL_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    token: str
    name: str
    status: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    ollama_url: str
    def __init__(self, agent_id: _Optional[str] = ..., token: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., ollama_url: _Optional[str] = ...) -> None: ...

class IdentifyResponse(_message.Message):
    __slots__ = ("agent_id", "endpoint_refused")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_REFUSED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    endpoint_refused: EndpointRefused
    def __init__(self, agent_id: _Optional[str] = ..., endpoint_refused: _Optional[_Union[EndpointRefused, _Mapping]] = ...) -> None: ...

class EndpointRefused(_message.Message):
    __slots__ = ("endpoint_id", "reason", "owner", "detail")
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    endpoint_id: str
    reason: str
    owner: str
    detail: str
    def __init__(self, endpoint_id: _Optional[str] = ..., reason: _Optional[str] = ..., owner: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class ReportOllamaRequest(_message.Message):
    __slots__ = ("ollama_url",)
    OLLAMA_URL_FIELD_NUMBER: _ClassVar[int]
    ollama_url: str
    def __init__(self, ollama_url: _Optional[str] = ...) -> None: ...

class ReportOllamaResponse(_message.Message):
    __slots__ = ("status", "endpoint_id")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    status: str
    endpoint_id: str
    def __init__(self, status: _Optional[str] = ..., endpoint_id: _Optional[str] = ...) -> None: ...

class ReportEndpointRequest(_message.Message):
    __slots__ = ("url", "backend", "name", "reachable", "error", "version", "models", "models_omitted")
    URL_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MODELS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    url: str
    backend: _endpoint_pb2.Backend
    name: str
    reachable: bool
    error: str
    version: str
    models: _containers.RepeatedCompositeFieldContainer[_endpoint_pb2.Model]
    models_omitted: int
    def __init__(self, url: _Optional[str] = ..., backend: _Optional[_Union[_endpoint_pb2.Backend, str]] = ..., name: _Optional[str] = ..., reachable: _Optional[bool] = ..., error: _Optional[str] = ..., version: _Optional[str] = ..., models: _Optional[_Iterable[_Union[_endpoint_pb2.Model, _Mapping]]] = ..., models_omitted: _Optional[int] = ...) -> None: ...

class ReportEndpointResponse(_message.Message):
    __slots__ = ("status", "endpoint_id")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    status: str
    endpoint_id: str
    def __init__(self, status: _Optional[str] = ..., endpoint_id: _Optional[str] = ...) -> None: ...

class ReportResourcesRequest(_message.Message):
    __slots__ = ("agent_id", "cpu_percent", "ram_used_bytes", "ram_total_bytes", "vram_used_bytes", "vram_total_bytes", "gpus", "timestamp")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    RAM_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RAM_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    VRAM_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    VRAM_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    cpu_percent: float
    ram_used_bytes: int
    ram_total_bytes: int
    vram_used_bytes: int
    vram_total_bytes: int
    gpus: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Gpu]
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, agent_id: _Optional[str] = ..., cpu_percent: _Optional[float] = ..., ram_used_bytes: _Optional[int] = ..., ram_total_bytes: _Optional[int] = ..., vram_used_bytes: _Optional[int] = ..., vram_total_bytes: _Optional[int] = ..., gpus: _Optional[_Iterable[_Union[_resources_pb2.Gpu, _Mapping]]] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReportResourcesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelAction(_message.Message):
    __slots__ = ("action_id", "kind", "endpoint_id", "model", "keep_alive", "timeout")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    kind: ModelActionKind
    endpoint_id: str
    model: str
    keep_alive: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    def __init__(self, action_id: _Optional[str] = ..., kind: _Optional[_Union[ModelActionKind, str]] = ..., endpoint_id: _Optional[str] = ..., model: _Optional[str] = ..., keep_alive: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReportModelActionRequest(_message.Message):
    __slots__ = ("action_id", "outcome", "detail")
    ACTION_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    action_id: str
    outcome: ModelActionOutcome
    detail: str
    def __init__(self, action_id: _Optional[str] = ..., outcome: _Optional[_Union[ModelActionOutcome, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class ReportModelActionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PingRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PingResponse(_message.Message):
    __slots__ = ("timestamp",)
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    timestamp: _timestamp_pb2.Timestamp
    def __init__(self, timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FrameError(_message.Message):
    __slots__ = ("error", "message_type", "errors", "detail")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TYPE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    error: str
    message_type: str
    errors: _containers.RepeatedCompositeFieldContainer[FieldError]
    detail: str
    def __init__(self, error: _Optional[str] = ..., message_type: _Optional[str] = ..., errors: _Optional[_Iterable[_Union[FieldError, _Mapping]]] = ..., detail: _Optional[str] = ...) -> None: ...

class FieldError(_message.Message):
    __slots__ = ("field", "error", "detail", "value", "known_types")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    KNOWN_TYPES_FIELD_NUMBER: _ClassVar[int]
    field: str
    error: str
    detail: str
    value: str
    known_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, field: _Optional[str] = ..., error: _Optional[str] = ..., detail: _Optional[str] = ..., value: _Optional[str] = ..., known_types: _Optional[_Iterable[str]] = ...) -> None: ...

class RateLimitWarning(_message.Message):
    __slots__ = ("tier", "remaining", "capacity")
    TIER_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    tier: str
    remaining: int
    capacity: int
    def __init__(self, tier: _Optional[str] = ..., remaining: _Optional[int] = ..., capacity: _Optional[int] = ...) -> None: ...

class RateLimited(_message.Message):
    __slots__ = ("tier", "retry_after_ms")
    TIER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    tier: str
    retry_after_ms: int
    def __init__(self, tier: _Optional[str] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...
