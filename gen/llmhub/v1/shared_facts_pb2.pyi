import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from llmhub.v1 import endpoint_pb2 as _endpoint_pb2
from llmhub.v1 import frame_pb2 as _frame_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EndpointFacts(_message.Message):
    __slots__ = ("as_of", "endpoint")
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    endpoint: _endpoint_pb2.Endpoint
    def __init__(self, as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., endpoint: _Optional[_Union[_endpoint_pb2.Endpoint, _Mapping]] = ...) -> None: ...

class EndpointChecks(_message.Message):
    __slots__ = ("as_of", "checks")
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    checks: _containers.RepeatedCompositeFieldContainer[EndpointCheck]
    def __init__(self, as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[EndpointCheck, _Mapping]]] = ...) -> None: ...

class EndpointCheck(_message.Message):
    __slots__ = ("id", "checked_at", "latency", "consecutive_failures")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHECKED_AT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    id: str
    checked_at: _timestamp_pb2.Timestamp
    latency: _duration_pb2.Duration
    consecutive_failures: int
    def __init__(self, id: _Optional[str] = ..., checked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., consecutive_failures: _Optional[int] = ...) -> None: ...

class HostFacts(_message.Message):
    __slots__ = ("as_of", "agent_id", "received_at", "report")
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    agent_id: str
    received_at: _timestamp_pb2.Timestamp
    report: _frame_pb2.ReportResourcesRequest
    def __init__(self, as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., agent_id: _Optional[str] = ..., received_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., report: _Optional[_Union[_frame_pb2.ReportResourcesRequest, _Mapping]] = ...) -> None: ...

class LearnedLoads(_message.Message):
    __slots__ = ("endpoint_id", "model", "took_ms")
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    endpoint_id: str
    model: str
    took_ms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, endpoint_id: _Optional[str] = ..., model: _Optional[str] = ..., took_ms: _Optional[_Iterable[int]] = ...) -> None: ...
