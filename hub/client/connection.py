"""Where the hub is and how to get there: address, token, TLS, and RPCs by name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from llmhub.v1 import admin_service_pb2, registry_service_pb2

DEFAULT_ADDRESS: Final = "127.0.0.1:50051"

# Pings find a hub that is gone without a word, while calls are open. The hub
# allows one in 10 s. A hub that comes back is tried soon and not at once by all.
OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS to the hub, or to the proxy before it. All PEM; None is the system's or nobody's.

    `server_name` is what the certificate is issued to, where that is not the
    address.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel."""
        return grpc.ssl_channel_credentials(
            self.root_certificates, self.private_key, self.certificate_chain
        )


@dataclass(frozen=True, slots=True)
class Target:
    """An address and what to bring along."""

    address: str
    token: str = field(repr=False)
    tls: Tls | None = None

    @classmethod
    def of(cls, address: str | None, token: str | None, tls: Tls | None) -> "Target":
        """What is None is taken from LLM_HUB_ADDRESS and LLM_HUB_TOKEN."""
        return cls(
            address or os.environ.get("LLM_HUB_ADDRESS") or DEFAULT_ADDRESS,
            token if token is not None else os.environ.get("LLM_HUB_TOKEN", ""),
            tls,
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def options(self) -> Sequence[tuple[str, Any]]:
        """The options of a channel."""
        if self.tls is None or self.tls.server_name is None:
            return OPTIONS
        return (*OPTIONS, ("grpc.ssl_target_name_override", self.tls.server_name))


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC."""

    path: str
    request: type[Message]
    response: type[Message]


def _methods() -> dict[str, Method]:
    return {
        method.name: Method(
            f"/{service.full_name}/{method.name}",
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
        )
        for module in (registry_service_pb2, admin_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


METHODS: Final = _methods()
"""The RPCs of RegistryService and AdminService by their names."""
