"""The hub's address and the way to it: token, TLS, channel options, and RPCs by name."""

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

# During calls, pings detect a hub that has silently disappeared. The hub allows one ping
# per 10 s. The pauses between connection attempts grow, so that clients find a returning
# hub soon, but not all at once.
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
    """TLS to the hub, or to the proxy in front of it. Everything is PEM.

    `root_certificates` are trusted; None means those that gRPC includes. A hub that
    requires a certificate gets `certificate_chain`, whose key is `private_key`.
    `server_name` is the name in the hub's certificate if it differs from the address.
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
        """Reads PEM files once; `key` may be omitted if `cert` contains the key.

        Raises ClientError, which names the file.
        """
        files = TlsFiles(*(str(each or "") for each in (ca, cert, key)))
        try:
            return cls.of(files, server_name=server_name)
        except TlsFilesError as error:
            raise ClientError(f"{error.option}: {error}") from None

    @classmethod
    def of(cls, files: TlsFiles, *, server_name: str | None = None) -> "Tls":
        """Reads and checks the files. Raises TlsFilesError."""
        roots, private_key, chain = files.pem()
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
    """An address and the options of a channel to it."""

    address: str
    token: str = field(repr=False)
    tls: Tls | None = None
    channel_options: Sequence[tuple[str, Any]] = ()

    @classmethod
    def of(
        cls,
        address: str | None,
        token: str | None,
        tls: Tls | None,
        channel_options: Sequence[tuple[str, Any]] = (),
    ) -> "Target":
        """Reads missing values from LLM_HUB_ADDRESS, LLM_HUB_TOKEN and LLM_HUB_TLS_….

        Raises ClientError if one of the LLM_HUB_TLS_… files is unusable.
        """
        files = TlsFiles.of(None, None, None)
        if tls is None and files:
            tls = Tls.from_files(files.ca, files.cert, files.key)
        return cls(
            address or os.environ.get("LLM_HUB_ADDRESS") or DEFAULT_ADDRESS,
            token if token is not None else os.environ.get("LLM_HUB_TOKEN", ""),
            tls,
            channel_options,
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def options(self) -> Sequence[tuple[str, Any]]:
        """The options of a channel; `channel_options` take precedence."""
        options: dict[str, Any] = dict(OPTIONS)
        if self.tls is not None and self.tls.server_name is not None:
            options["grpc.ssl_target_name_override"] = self.tls.server_name
        return tuple((options | dict(self.channel_options)).items())


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
"""The RPCs of RegistryService and AdminService, by name."""
