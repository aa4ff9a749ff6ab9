"""Where the hub is and how to get there: address, token, TLS, and RPCs by name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hub.base.tls_files import TlsFiles, TlsFilesError
from hub.client.call_errors import ClientError
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
    """TLS to the hub, or to the proxy before it. All PEM; None is what gRPC brings, or nobody's.

    A hub that demands certificates is shown `certificate_chain`, which is `private_key`'s.

    `server_name` is what the certificate is issued to, where that is not the
    address.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = None
    server_name: str | None = None

    @classmethod
    def from_files(
        cls,
        ca: str | Path = "",
        cert: str | Path = "",
        key: str | Path = "",
        *,
        server_name: str | None = None,
    ) -> "Tls":
        """Reads PEM files once; without `key` it is in `cert`. Raises ClientError, naming the file.

        What a file does not hold or what does not fit together is told here, for
        in a call gRPC would only say that the hub is not available.
        """
        try:
            roots, private_key, chain = TlsFiles(
                *(str(each or "") for each in (ca, cert, key))
            ).pem()
        except TlsFilesError as error:
            raise ClientError(f"{error.option}: {error}") from None
        return cls(
            root_certificates=roots,
            private_key=private_key,
            certificate_chain=chain,
            server_name=server_name,
        )

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
        """What is None is taken from LLM_HUB_ADDRESS, LLM_HUB_TOKEN and LLM_HUB_TLS_….

        Raises ClientError for a file that one of the latter names and that does not do.
        """
        files = TlsFiles.of(None, None, None)
        if tls is None and files:
            tls = Tls.from_files(files.ca, files.cert, files.key)
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
