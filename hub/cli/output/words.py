"""The words of the contract's enums, as the command line takes and prints them."""

from collections.abc import Mapping
from typing import cast

from google.protobuf.descriptor import EnumDescriptor

from hub.contract.dialect.names import enum_words
from llmhub.v1.endpoint_pb2 import AdminState, Backend, Status
from llmhub.v1.registry_service_pb2 import Rejection, Strategy
from llmhub.v1.resources_pb2 import Role

BACKENDS = cast("Mapping[str, Backend]", enum_words(Backend.DESCRIPTOR))
ROLES = cast("Mapping[str, Role]", enum_words(Role.DESCRIPTOR))
STATUSES = cast("Mapping[str, Status]", enum_words(Status.DESCRIPTOR))
STRATEGIES = cast("Mapping[str, Strategy]", enum_words(Strategy.DESCRIPTOR))


def _by_number(enum: EnumDescriptor) -> dict[int, str]:
    return {number: word for word, number in enum_words(enum).items()}


BACKEND_WORDS = _by_number(Backend.DESCRIPTOR)
REJECTION_WORDS = _by_number(Rejection.DESCRIPTOR)
ROLE_WORDS = _by_number(Role.DESCRIPTOR)
STATE_WORDS = _by_number(AdminState.DESCRIPTOR)
STATUS_WORDS = _by_number(Status.DESCRIPTOR)
