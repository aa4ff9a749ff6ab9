import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmhub.v1 import audit_pb2 as _audit_pb2
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

class OverloadLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERLOAD_LEVEL_UNSPECIFIED: _ClassVar[OverloadLevel]
    OVERLOAD_LEVEL_CONNECTIONS: _ClassVar[OverloadLevel]
    OVERLOAD_LEVEL_SNAPSHOTS: _ClassVar[OverloadLevel]
    OVERLOAD_LEVEL_REPORTS: _ClassVar[OverloadLevel]
    OVERLOAD_LEVEL_WATCHES: _ClassVar[OverloadLevel]
    OVERLOAD_LEVEL_READS: _ClassVar[OverloadLevel]

class PreservationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRESERVATION_STATE_UNSPECIFIED: _ClassVar[PreservationState]
    PRESERVATION_STATE_TRUSTING: _ClassVar[PreservationState]
    PRESERVATION_STATE_FROZEN: _ClassVar[PreservationState]
    PRESERVATION_STATE_CONFIRMED: _ClassVar[PreservationState]
OVERLOAD_LEVEL_UNSPECIFIED: OverloadLevel
OVERLOAD_LEVEL_CONNECTIONS: OverloadLevel
OVERLOAD_LEVEL_SNAPSHOTS: OverloadLevel
OVERLOAD_LEVEL_REPORTS: OverloadLevel
OVERLOAD_LEVEL_WATCHES: OverloadLevel
OVERLOAD_LEVEL_READS: OverloadLevel
PRESERVATION_STATE_UNSPECIFIED: PreservationState
PRESERVATION_STATE_TRUSTING: PreservationState
PRESERVATION_STATE_FROZEN: PreservationState
PRESERVATION_STATE_CONFIRMED: PreservationState

class RegisterEndpointRequest(_message.Message):
    __slots__ = ("host", "port", "scheme", "name", "backend", "labels", "agent_id", "api_key", "base_path")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    BASE_PATH_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    scheme: str
    name: str
    backend: _endpoint_pb2.Backend
    labels: _containers.ScalarMap[str, str]
    agent_id: str
    api_key: str
    base_path: str
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., scheme: _Optional[str] = ..., name: _Optional[str] = ..., backend: _Optional[_Union[_endpoint_pb2.Backend, str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., agent_id: _Optional[str] = ..., api_key: _Optional[str] = ..., base_path: _Optional[str] = ...) -> None: ...

class RegisterEndpointResponse(_message.Message):
    __slots__ = ("endpoint",)
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ...) -> None: ...

class UpdateEndpointRequest(_message.Message):
    __slots__ = ("endpoint", "update_mask", "etag", "validate_only")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    validate_only: bool
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UpdateEndpointResponse(_message.Message):
    __slots__ = ("endpoint", "impact")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    IMPACT_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    impact: UpdateImpact
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ..., impact: _Optional[_Union[UpdateImpact, _Mapping]] = ...) -> None: ...

class UpdateImpact(_message.Message):
    __slots__ = ("last_loaded_models", "last_available_models", "in_flight")
    LAST_LOADED_MODELS_FIELD_NUMBER: _ClassVar[int]
    LAST_AVAILABLE_MODELS_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    last_loaded_models: _containers.RepeatedScalarFieldContainer[str]
    last_available_models: _containers.RepeatedScalarFieldContainer[str]
    in_flight: int
    def __init__(self, last_loaded_models: _Optional[_Iterable[str]] = ..., last_available_models: _Optional[_Iterable[str]] = ..., in_flight: _Optional[int] = ...) -> None: ...

class RemoveEndpointRequest(_message.Message):
    __slots__ = ("id", "etag")
    ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    id: str
    etag: str
    def __init__(self, id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class RemoveEndpointResponse(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CheckEndpointRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CheckEndpointResponse(_message.Message):
    __slots__ = ("endpoint",)
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ...) -> None: ...

class LoadModelRequest(_message.Message):
    __slots__ = ("endpoint_id", "model", "keep_alive", "timeout", "validate_only")
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KEEP_ALIVE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    endpoint_id: str
    model: str
    keep_alive: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    validate_only: bool
    def __init__(self, endpoint_id: _Optional[str] = ..., model: _Optional[str] = ..., keep_alive: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class LoadModelResponse(_message.Message):
    __slots__ = ("model", "agent_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    model: _endpoint_pb2.Model
    agent_id: str
    def __init__(self, model: _Optional[_Union[_endpoint_pb2.Model, _Mapping]] = ..., agent_id: _Optional[str] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("endpoint_id", "model", "timeout", "validate_only")
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    endpoint_id: str
    model: str
    timeout: _duration_pb2.Duration
    validate_only: bool
    def __init__(self, endpoint_id: _Optional[str] = ..., model: _Optional[str] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("model", "agent_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    model: _endpoint_pb2.Model
    agent_id: str
    def __init__(self, model: _Optional[_Union[_endpoint_pb2.Model, _Mapping]] = ..., agent_id: _Optional[str] = ...) -> None: ...

class ListSidecarsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSidecarsResponse(_message.Message):
    __slots__ = ("sidecars", "next_page_token")
    SIDECARS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sidecars: _containers.RepeatedCompositeFieldContainer[_resources_pb2.SidecarInfo]
    next_page_token: str
    def __init__(self, sidecars: _Optional[_Iterable[_Union[_resources_pb2.SidecarInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DisconnectSidecarRequest(_message.Message):
    __slots__ = ("agent_id", "reason")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    reason: str
    def __init__(self, agent_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DisconnectSidecarResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("role", "agent_id", "ttl", "description", "scope")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    role: _resources_pb2.Role
    agent_id: str
    ttl: _duration_pb2.Duration
    description: str
    scope: _resources_pb2.TokenScope
    def __init__(self, role: _Optional[_Union[_resources_pb2.Role, str]] = ..., agent_id: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., description: _Optional[str] = ..., scope: _Optional[_Union[_resources_pb2.TokenScope, _Mapping]] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "token_info")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_INFO_FIELD_NUMBER: _ClassVar[int]
    token: str
    token_info: _resources_pb2.TokenInfo
    def __init__(self, token: _Optional[str] = ..., token_info: _Optional[_Union[_resources_pb2.TokenInfo, _Mapping]] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "include_expired")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    include_expired: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., include_expired: _Optional[bool] = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens", "next_page_token")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[_resources_pb2.TokenInfo]
    next_page_token: str
    def __init__(self, tokens: _Optional[_Iterable[_Union[_resources_pb2.TokenInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetModelAliasRequest(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: _model_alias_pb2.ModelAlias
    def __init__(self, alias: _Optional[_Union[_model_alias_pb2.ModelAlias, _Mapping]] = ...) -> None: ...

class SetModelAliasResponse(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: _model_alias_pb2.ModelAlias
    def __init__(self, alias: _Optional[_Union[_model_alias_pb2.ModelAlias, _Mapping]] = ...) -> None: ...

class RemoveModelAliasRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class RemoveModelAliasResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAuditEventsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "resource", "token_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    resource: str
    token_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., resource: _Optional[str] = ..., token_id: _Optional[str] = ...) -> None: ...

class ListAuditEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_audit_pb2.AuditEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[_audit_pb2.AuditEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "started_at", "first_revision", "revision", "endpoint_count", "healthy_count", "sidecar_count", "store", "ws_address", "grpc_address", "http_address", "self_preservation", "overload")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FIRST_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    WS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    GRPC_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HTTP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SELF_PRESERVATION_FIELD_NUMBER: _ClassVar[int]
    OVERLOAD_FIELD_NUMBER: _ClassVar[int]
    version: str
    started_at: _timestamp_pb2.Timestamp
    first_revision: int
    revision: int
    endpoint_count: int
    healthy_count: int
    sidecar_count: int
    store: str
    ws_address: str
    grpc_address: str
    http_address: str
    self_preservation: SelfPreservation
    overload: OverloadState
    def __init__(self, version: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., first_revision: _Optional[int] = ..., revision: _Optional[int] = ..., endpoint_count: _Optional[int] = ..., healthy_count: _Optional[int] = ..., sidecar_count: _Optional[int] = ..., store: _Optional[str] = ..., ws_address: _Optional[str] = ..., grpc_address: _Optional[str] = ..., http_address: _Optional[str] = ..., self_preservation: _Optional[_Union[SelfPreservation, _Mapping]] = ..., overload: _Optional[_Union[OverloadState, _Mapping]] = ...) -> None: ...

class OverloadState(_message.Message):
    __slots__ = ("level", "cause", "since", "pressure", "shed_count")
    class PressureEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    SHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    level: OverloadLevel
    cause: str
    since: _timestamp_pb2.Timestamp
    pressure: _containers.ScalarMap[str, float]
    shed_count: int
    def __init__(self, level: _Optional[_Union[OverloadLevel, str]] = ..., cause: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pressure: _Optional[_Mapping[str, float]] = ..., shed_count: _Optional[int] = ...) -> None: ...

class SelfPreservation(_message.Message):
    __slots__ = ("state", "since", "failing_count", "base_count", "confirmed_at", "freeze_count")
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FAILING_COUNT_FIELD_NUMBER: _ClassVar[int]
    BASE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_AT_FIELD_NUMBER: _ClassVar[int]
    FREEZE_COUNT_FIELD_NUMBER: _ClassVar[int]
    state: PreservationState
    since: _timestamp_pb2.Timestamp
    failing_count: int
    base_count: int
    confirmed_at: _timestamp_pb2.Timestamp
    freeze_count: int
    def __init__(self, state: _Optional[_Union[PreservationState, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failing_count: _Optional[int] = ..., base_count: _Optional[int] = ..., confirmed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., freeze_count: _Optional[int] = ...) -> None: ...
