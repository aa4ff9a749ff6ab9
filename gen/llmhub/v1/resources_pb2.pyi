import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmhub.v1 import endpoint_pb2 as _endpoint_pb2
from llmhub.v1 import model_alias_pb2 as _model_alias_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]
    ROLE_READER: _ClassVar[Role]
    ROLE_SIDECAR: _ClassVar[Role]

class EventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_TYPE_UNSPECIFIED: _ClassVar[EventType]
    EVENT_TYPE_PUT: _ClassVar[EventType]
    EVENT_TYPE_DELETE: _ClassVar[EventType]
ROLE_UNSPECIFIED: Role
ROLE_ADMIN: Role
ROLE_READER: Role
ROLE_SIDECAR: Role
EVENT_TYPE_UNSPECIFIED: EventType
EVENT_TYPE_PUT: EventType
EVENT_TYPE_DELETE: EventType

class HostResources(_message.Message):
    __slots__ = ("agent_id", "cpu_percent", "ram_used_bytes", "ram_total_bytes", "vram_used_bytes", "vram_total_bytes", "gpus", "reported_at", "sidecar_timestamp")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    CPU_PERCENT_FIELD_NUMBER: _ClassVar[int]
    RAM_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RAM_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    VRAM_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    VRAM_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_AT_FIELD_NUMBER: _ClassVar[int]
    SIDECAR_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    cpu_percent: float
    ram_used_bytes: int
    ram_total_bytes: int
    vram_used_bytes: int
    vram_total_bytes: int
    gpus: _containers.RepeatedCompositeFieldContainer[Gpu]
    reported_at: _timestamp_pb2.Timestamp
    sidecar_timestamp: _timestamp_pb2.Timestamp
    def __init__(self, agent_id: _Optional[str] = ..., cpu_percent: _Optional[float] = ..., ram_used_bytes: _Optional[int] = ..., ram_total_bytes: _Optional[int] = ..., vram_used_bytes: _Optional[int] = ..., vram_total_bytes: _Optional[int] = ..., gpus: _Optional[_Iterable[_Union[Gpu, _Mapping]]] = ..., reported_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sidecar_timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VramAccount(_message.Message):
    __slots__ = ("agent_id", "total_bytes", "measured_bytes", "claimed_bytes", "untold_models", "unattributed_bytes", "free_bytes")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEASURED_BYTES_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNTOLD_MODELS_FIELD_NUMBER: _ClassVar[int]
    UNATTRIBUTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    total_bytes: int
    measured_bytes: int
    claimed_bytes: int
    untold_models: int
    unattributed_bytes: int
    free_bytes: int
    def __init__(self, agent_id: _Optional[str] = ..., total_bytes: _Optional[int] = ..., measured_bytes: _Optional[int] = ..., claimed_bytes: _Optional[int] = ..., untold_models: _Optional[int] = ..., unattributed_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ...) -> None: ...

class Gpu(_message.Message):
    __slots__ = ("index", "name", "uuid", "utilization_percent", "vram_used_bytes", "vram_total_bytes", "temperature_celsius", "power_watts")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UUID_FIELD_NUMBER: _ClassVar[int]
    UTILIZATION_PERCENT_FIELD_NUMBER: _ClassVar[int]
    VRAM_USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    VRAM_TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_CELSIUS_FIELD_NUMBER: _ClassVar[int]
    POWER_WATTS_FIELD_NUMBER: _ClassVar[int]
    index: int
    name: str
    uuid: str
    utilization_percent: float
    vram_used_bytes: int
    vram_total_bytes: int
    temperature_celsius: float
    power_watts: float
    def __init__(self, index: _Optional[int] = ..., name: _Optional[str] = ..., uuid: _Optional[str] = ..., utilization_percent: _Optional[float] = ..., vram_used_bytes: _Optional[int] = ..., vram_total_bytes: _Optional[int] = ..., temperature_celsius: _Optional[float] = ..., power_watts: _Optional[float] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("endpoints", "resources", "fleet_models", "revision", "vram")
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: HostResources
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[HostResources, _Mapping]] = ...) -> None: ...
    class FleetModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class VramEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: VramAccount
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[VramAccount, _Mapping]] = ...) -> None: ...
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    FLEET_MODELS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VRAM_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[_endpoint_pb2.Endpoint]
    resources: _containers.MessageMap[str, HostResources]
    fleet_models: _containers.ScalarMap[str, int]
    revision: int
    vram: _containers.MessageMap[str, VramAccount]
    def __init__(self, endpoints: _Optional[_Iterable[_Union[_endpoint_pb2.Endpoint, _Mapping]]] = ..., resources: _Optional[_Mapping[str, HostResources]] = ..., fleet_models: _Optional[_Mapping[str, int]] = ..., revision: _Optional[int] = ..., vram: _Optional[_Mapping[str, VramAccount]] = ...) -> None: ...

class ModelSummary(_message.Message):
    __slots__ = ("name", "endpoint_count", "loaded_count", "healthy_count", "endpoint_ids", "unknown_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOADED_COUNT_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_IDS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    endpoint_count: int
    loaded_count: int
    healthy_count: int
    endpoint_ids: _containers.RepeatedScalarFieldContainer[str]
    unknown_count: int
    def __init__(self, name: _Optional[str] = ..., endpoint_count: _Optional[int] = ..., loaded_count: _Optional[int] = ..., healthy_count: _Optional[int] = ..., endpoint_ids: _Optional[_Iterable[str]] = ..., unknown_count: _Optional[int] = ...) -> None: ...

class SidecarInfo(_message.Message):
    __slots__ = ("agent_id", "name", "status", "capabilities", "remote_address", "transport", "connected_at", "last_seen_at", "frames_received", "unknown_fields", "violations")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELDS_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    name: str
    status: str
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    remote_address: str
    transport: str
    connected_at: _timestamp_pb2.Timestamp
    last_seen_at: _timestamp_pb2.Timestamp
    frames_received: int
    unknown_fields: int
    violations: int
    def __init__(self, agent_id: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., remote_address: _Optional[str] = ..., transport: _Optional[str] = ..., connected_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., frames_received: _Optional[int] = ..., unknown_fields: _Optional[int] = ..., violations: _Optional[int] = ...) -> None: ...

class TokenInfo(_message.Message):
    __slots__ = ("id", "role", "agent_id", "description", "created_at", "expires_at", "expired", "scope", "last_used_at", "last_used_from")
    ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_USED_FROM_FIELD_NUMBER: _ClassVar[int]
    id: str
    role: Role
    agent_id: str
    description: str
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    expired: bool
    scope: TokenScope
    last_used_at: _timestamp_pb2.Timestamp
    last_used_from: str
    def __init__(self, id: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., agent_id: _Optional[str] = ..., description: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expired: _Optional[bool] = ..., scope: _Optional[_Union[TokenScope, _Mapping]] = ..., last_used_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_used_from: _Optional[str] = ...) -> None: ...

class TokenScope(_message.Message):
    __slots__ = ("labels", "models", "addresses", "rpcs", "read_only")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    RPCS_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    models: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    rpcs: _containers.RepeatedScalarFieldContainer[str]
    read_only: bool
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., models: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., rpcs: _Optional[_Iterable[str]] = ..., read_only: _Optional[bool] = ...) -> None: ...

class RegistryEvent(_message.Message):
    __slots__ = ("type", "revision", "endpoint", "resources", "model_alias")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    MODEL_ALIAS_FIELD_NUMBER: _ClassVar[int]
    type: EventType
    revision: int
    endpoint: _endpoint_pb2.Endpoint
    resources: HostResources
    model_alias: _model_alias_pb2.ModelAlias
    def __init__(self, type: _Optional[_Union[EventType, str]] = ..., revision: _Optional[int] = ..., endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ..., resources: _Optional[_Union[HostResources, _Mapping]] = ..., model_alias: _Optional[_Union[_model_alias_pb2.ModelAlias, _Mapping]] = ...) -> None: ...
