import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmhub.v1 import endpoint_pb2 as _endpoint_pb2
from llmhub.v1 import frame_pb2 as _frame_pb2
from llmhub.v1 import model_alias_pb2 as _model_alias_pb2
from llmhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditEvent(_message.Message):
    __slots__ = ("id", "changed_at", "token_id", "role", "remote_address", "transport", "action", "resource", "before", "after", "secret_changed")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SECRET_CHANGED_FIELD_NUMBER: _ClassVar[int]
    id: str
    changed_at: _timestamp_pb2.Timestamp
    token_id: str
    role: _resources_pb2.Role
    remote_address: str
    transport: str
    action: str
    resource: str
    before: AuditState
    after: AuditState
    secret_changed: bool
    def __init__(self, id: _Optional[str] = ..., changed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., token_id: _Optional[str] = ..., role: _Optional[_Union[_resources_pb2.Role, str]] = ..., remote_address: _Optional[str] = ..., transport: _Optional[str] = ..., action: _Optional[str] = ..., resource: _Optional[str] = ..., before: _Optional[_Union[AuditState, _Mapping]] = ..., after: _Optional[_Union[AuditState, _Mapping]] = ..., secret_changed: _Optional[bool] = ...) -> None: ...

class AuditState(_message.Message):
    __slots__ = ("endpoint", "token_info", "model_alias", "model_action")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_INFO_FIELD_NUMBER: _ClassVar[int]
    MODEL_ALIAS_FIELD_NUMBER: _ClassVar[int]
    MODEL_ACTION_FIELD_NUMBER: _ClassVar[int]
    endpoint: _endpoint_pb2.Endpoint
    token_info: _resources_pb2.TokenInfo
    model_alias: _model_alias_pb2.ModelAlias
    model_action: ModelActionState
    def __init__(self, endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ..., token_info: _Optional[_Union[_resources_pb2.TokenInfo, _Mapping]] = ..., model_alias: _Optional[_Union[_model_alias_pb2.ModelAlias, _Mapping]] = ..., model_action: _Optional[_Union[ModelActionState, _Mapping]] = ...) -> None: ...

class ModelActionState(_message.Message):
    __slots__ = ("model", "state", "outcome", "detail")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    model: str
    state: _endpoint_pb2.ModelState
    outcome: _frame_pb2.ModelActionOutcome
    detail: str
    def __init__(self, model: _Optional[str] = ..., state: _Optional[_Union[_endpoint_pb2.ModelState, str]] = ..., outcome: _Optional[_Union[_frame_pb2.ModelActionOutcome, str]] = ..., detail: _Optional[str] = ...) -> None: ...
