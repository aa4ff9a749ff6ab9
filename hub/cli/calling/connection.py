"""How a command reaches the hub: its options, its token, one deadline for each call."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import grpc
from google.protobuf.message import Message

from hub.base.address import AddressError, parse_listen_address
from hub.base.settings import default_data_dir
from hub.base.tls_files import TlsFiles
from hub.cli.calling.options import global_options
from hub.cli.calling.rpc_errors import from_rpc_error
from hub.cli.calling.tls import find_credentials, open_channel, why_no_handshake
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable
from llmhub.v1.admin_service_pb2_grpc import AdminServiceStub
from llmhub.v1.registry_service_pb2_grpc import RegistryServiceStub

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 10.0
TOKEN_FILE = "admin.token"  # noqa: S105 - a file name

# A snapshot of a full registry: 100,000 endpoints of a few KiB.
_MAX_RESPONSE_BYTES = 1 << 30

_Command = Callable[..., object]


class HubConnection:
    """A channel to a hub. Every call has a deadline and raises CommandFailed."""

    def __init__(
        self,
        address: str,
        token: str,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        credentials: grpc.ChannelCredentials | None = None,
        tls_files: TlsFiles | None = None,
    ) -> None:
        """Without `credentials` it speaks plain text; `tls_files` are what they were made of."""
        self.address = address
        self.tls_files = tls_files or TlsFiles()
        self.is_tls = credentials is not None
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {token}"),)
        options = (
            ("grpc.max_receive_message_length", _MAX_RESPONSE_BYTES),
            # gRPC would send even 127.0.0.1 through http_proxy.
            ("grpc.enable_http_proxy", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
        )
        self._channel = open_channel(address, credentials, options)
        self.admin = AdminServiceStub(self._channel)
        self.registry = RegistryServiceStub(self._channel)

    # A method of a generated stub: protoc annotates neither it nor what it returns.
    def call(self, method: Callable[..., Any], request: Message) -> Any:
        """Calls one method of `admin` or `registry` and returns its response."""
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._failed(error) from None

    def stream(self, method: Callable[..., Any], request: Message) -> Iterator[Any]:
        """Calls a method that answers with a stream, and yields its responses until it ends.

        There is no deadline: such a stream lasts as long as both sides do; gRPC's
        keepalive notices a hub that has gone. Raises CommandFailed.
        """
        call = method(request, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._failed(error) from None
        finally:
            call.cancel()

    def pages(self, method: Callable[..., Any], request: Any, field: str) -> list[Any]:
        """Calls a method that pages until there is no further page; returns all of `field`."""
        found: list[Any] = []
        while True:
            response = self.call(method, request)
            found += getattr(response, field)
            if not response.next_page_token:
                return found
            request.page_token = response.next_page_token

    def _failed(self, error: grpc.RpcError) -> CommandFailed:
        failed = from_rpc_error(error, self.address, self._timeout_s)
        if failed.code is ExitCode.UNREACHABLE:
            why = why_no_handshake(self.address, self.tls_files, tls=self.is_tls)
            if why is not None:
                return CommandFailed(printable(why), failed.code)
        return failed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()


def read_token(data_dir: Path) -> str:
    """The admin token that the hub keeps in its data directory. Raises CommandFailed."""
    file = data_dir / TOKEN_FILE
    try:
        return _checked(file.read_text(encoding="ascii").strip(), str(file))
    except FileNotFoundError:
        raise CommandFailed(
            f"no token: give --token, set LLM_HUB_TOKEN, or name the hub's --data-dir ({file} "
            "is not there)",
            ExitCode.NOT_AUTHORISED,
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{file}: cannot be read: {error.strerror}", ExitCode.NOT_AUTHORISED
        ) from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{file}: holds no token", ExitCode.NOT_AUTHORISED) from None


@dataclass(frozen=True, slots=True)
class HubTarget:
    """Which hub a command is about, and how to print; nothing of it is asked for yet."""

    address: str
    token: str | None
    timeout_s: float
    output: str
    data_dir: Path | None
    credentials: grpc.ChannelCredentials | None
    tls_files: TlsFiles
    is_named: bool
    """Whether somebody said which hub it is, and the address is not the usual one."""

    def connect(self) -> HubConnection:
        """A channel, with the data directory's token where none was given. Raises CommandFailed."""
        secret = (
            _checked(self.token, "the token")
            if self.token
            else read_token(self.data_dir or default_data_dir())
        )
        return HubConnection(self.address, secret, self.timeout_s, self.credentials, self.tls_files)


def find_hub(options: dict[str, Any]) -> HubTarget:
    """Takes the options of `hub_options` out of a command's. Raises CommandFailed."""
    above = click.get_current_context().find_object(dict) or {}
    given = {
        name: options.pop(name)
        for name in ("hub", "token", "timeout", "output", "tls", "tls_ca", "tls_cert", "tls_key")
    }
    named = given["hub"] or above.get("hub") or os.environ.get("LLM_HUB_ADDRESS")
    address = named or DEFAULT_ADDRESS
    _check_address(address)
    ca, cert, key = (given[name] or above.get(name) for name in ("tls_ca", "tls_cert", "tls_key"))
    files = TlsFiles.of(ca, cert, key)
    return HubTarget(
        address=address,
        token=given["token"] or above.get("token") or os.environ.get("LLM_HUB_TOKEN"),
        timeout_s=given["timeout"] or above.get("timeout") or DEFAULT_TIMEOUT_S,
        output=given["output"] or above.get("output") or "table",
        data_dir=options.pop("data_dir"),
        credentials=find_credentials(files, tls=given["tls"] or bool(above.get("tls"))),
        tls_files=files,
        is_named=bool(named),
    )


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="LLM_HUB_DATA_DIR",
    help=f"Where the hub keeps {TOKEN_FILE}, for calls without --token.",
)


def hub_options(command: _Command) -> _Command:
    """Gives `command` the options that say which hub; see `find_hub`."""
    return global_options(data_dir_option(command))


def hub_command(command: _Command) -> _Command:
    """Gives `command` the global options, and the connection and format made of them.

    It is called as `command(connection=HubConnection, output=str, …)`.
    """

    @functools.wraps(command)
    def run(**options: Any) -> object:
        target = find_hub(options)
        with target.connect() as connection:
            return command(connection=connection, output=target.output, **options)

    return hub_options(run)


def _check_address(address: str) -> None:
    if "://" in address:
        raise CommandFailed(
            f"--hub: {printable(address)!r} is a URL; give the gRPC door as HOST:PORT, as "
            f"{DEFAULT_ADDRESS}",
            ExitCode.USAGE,
        )
    try:
        parse_listen_address(address)
    except AddressError as error:
        raise CommandFailed(f"--hub: {error}", ExitCode.USAGE) from None


def _checked(token: str, place: str) -> str:
    # Metadata takes visible ASCII only; gRPC's own complaint would show the token.
    if not token or not all("!" <= character <= "~" for character in token):
        raise CommandFailed(f"{place}: not a token", ExitCode.NOT_AUTHORISED)
    return token
