"""How a command reaches the hub: address, token, TLS and deadline, and what a failure means."""

import functools
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc

from hub.base.address import AddressError, parse_listen_address
from hub.base.data_dir import ADMIN_TOKEN_FILE, default_data_dir
from hub.base.tls_files import TlsFiles, TlsFilesError
from hub.cli.calling.options import global_options, option_of
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable
from hub.client import CallFailed, Hub, Retry, Tls
from hub.client.hub_address import DEFAULT_ADDRESS

_HANDSHAKE_TIMEOUT_S = 3.0


def find_tls(files: TlsFiles, *, tls: bool) -> Tls | None:
    """The TLS that the files and --tls ask for; None means plain text. Raises CommandFailed."""
    if not files:
        return Tls() if tls else None
    try:
        return Tls.of(files)
    except TlsFilesError as error:
        raise CommandFailed(f"--tls-{error.option}: {error}", ExitCode.USAGE) from None


def explain_handshake_failure(address: str, files: TlsFiles, *, tls: bool) -> CommandFailed | None:
    """Why the TLS handshake with the server at `address` fails; None if that is unknown.

    gRPC reports only that the address is unavailable. Takes at most 6 s.
    """
    try:
        context = files.context() if tls else _unverified_context()
    except TlsFilesError as error:
        return _handshake_failed(f"--tls-{error.option}: {error}")
    # A gRPC server rejects a handshake without ALPN (RFC 9113, section 3.2).
    context.set_alpn_protocols(["h2"])
    host, port = parse_listen_address(address)
    try:
        with socket.create_connection((host, port), timeout=_HANDSHAKE_TIMEOUT_S) as connection:
            try:
                with context.wrap_socket(connection, server_hostname=host) as secured:
                    if not tls:
                        return _handshake_failed(
                            f"the hub at {address} speaks TLS", "give --tls or --tls-ca FILE"
                        )
                    # The server sends SETTINGS at once, unless it rejects the client's
                    # certificate, which TLS 1.3 checks after the handshake.
                    is_closed = secured.recv(1) == b""
            except ssl.SSLCertVerificationError as error:
                return _handshake_failed(
                    f"the certificate of the hub at {address} is not trusted: "
                    f"{error.verify_message}",
                    "name its certificate authority with --tls-ca FILE",
                )
            except ssl.SSLError as error:
                if not tls:
                    return None
                if "ALERT" not in (error.reason or ""):
                    return _handshake_failed(
                        f"the server at {address} does not speak TLS, at least not now"
                    )
                is_closed = True
    except OSError:
        return None
    if not is_closed:
        return None
    if files.cert:
        return _handshake_failed(
            f"the hub at {address} does not accept the certificate in {files.cert}"
        )
    return _handshake_failed(
        f"the hub at {address} requires a certificate", "give --tls-cert FILE and --tls-key FILE"
    )


def _handshake_failed(found: str, advice: str = "") -> CommandFailed:
    return CommandFailed(printable(found), ExitCode.UNREACHABLE, advice=advice)


def _unverified_context() -> ssl.SSLContext:
    """Only to check whether a server speaks TLS; no data is sent after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_EXIT_CODES = {
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.NOT_AUTHORISED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.NOT_AUTHORISED,
    grpc.StatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT: ExitCode.INVALID,
}


def command_failed(failed: CallFailed, address: str, timeout_s: float) -> CommandFailed:
    """Describes a failed call to the hub at `address` in one line."""
    if not failed.reason:
        if failed.code is grpc.StatusCode.UNAVAILABLE:
            return CommandFailed(
                f"no hub answers at {address}",
                ExitCode.UNREACHABLE,
                advice="start one with `llm-hub serve`, or name another with --hub or "
                "LLM_HUB_ADDRESS; or this is not a hub's gRPC port "
                f"({DEFAULT_ADDRESS} by default)",
            )
        if failed.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return CommandFailed(
                f"the hub at {address} did not answer within {timeout_s:g} s", ExitCode.UNREACHABLE
            )
    fields = "; ".join(f"{option_of(each.field)}: {each.description}" for each in failed.violations)
    return CommandFailed(
        printable(fields or failed.message or "the hub gave no reason"),
        _EXIT_CODES.get(failed.code, ExitCode.FAILED),
        advice=f"retry in {failed.retry_after_s:g} s" if failed.retry_after_s else "",
        reason=printable(failed.reason or failed.code.name),
    )


DEFAULT_TIMEOUT_S = 10.0

CHANNEL_OPTIONS = (
    # A snapshot of a full registry: 100,000 endpoints of a few KiB.
    ("grpc.max_receive_message_length", 1 << 30),
    # gRPC would send even 127.0.0.1 through http_proxy.
    ("grpc.enable_http_proxy", 0),
    # A command tries once: the first connection may take as long as the call.
    ("grpc.min_reconnect_backoff_ms", 20_000),
)

_Command = Callable[..., object]


def read_token(data_dir: Path) -> str:
    """The admin token that the hub keeps in its data directory. Raises CommandFailed."""
    file = data_dir / ADMIN_TOKEN_FILE
    try:
        return _checked(file.read_text(encoding="ascii").strip(), str(file))
    except FileNotFoundError:
        raise CommandFailed(
            f"no token: give --token, set LLM_HUB_TOKEN, or name the hub's --data-dir ({file} "
            "does not exist)",
            ExitCode.NOT_AUTHORISED,
        ) from None
    except OSError as error:
        raise CommandFailed(
            f"{file}: cannot be read: {error.strerror}", ExitCode.NOT_AUTHORISED
        ) from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{file}: does not contain a token", ExitCode.NOT_AUTHORISED) from None


@dataclass(frozen=True, slots=True)
class HubTarget:
    """The hub that a command calls, and the output format. Not connected yet."""

    address: str
    token: str | None
    timeout_s: float
    output: str
    data_dir: Path | None
    tls: Tls | None
    tls_files: TlsFiles
    is_named: bool
    """Whether an option or the environment gives the address; otherwise it is the default."""

    def _token(self) -> str:
        """The token to call with; "" if a client certificate stands for it."""
        if self.token:
            return _checked(self.token, "the token")
        directory = self.data_dir or default_data_dir()
        if self.tls_files.cert and not (directory / ADMIN_TOKEN_FILE).exists():
            return ""
        return read_token(directory)

    @contextmanager
    def connect(self) -> Iterator[Hub]:
        """A client with the given token, or with the one in the data directory.

        Without either, a client certificate may stand for one. Raises CommandFailed if there
        is no proof at all, and for a CallFailed in the block.
        """
        with Hub(
            self.address,
            self._token(),
            tls=self.tls,
            timeout_s=self.timeout_s,
            retry=Retry(attempts=1),
            channel_options=CHANNEL_OPTIONS,
        ) as hub:
            try:
                yield hub
            except CallFailed as failed:
                raise self.failure(failed) from None

    def failure(self, failed: CallFailed) -> CommandFailed:
        """Turns a failed call into a failure of the command."""
        failure = command_failed(failed, self.address, self.timeout_s)
        if failure.code is ExitCode.UNREACHABLE:
            why = explain_handshake_failure(self.address, self.tls_files, tls=self.tls is not None)
            return why or failure
        return failure


def find_hub(options: dict[str, Any]) -> HubTarget:
    """Removes the options of `hub_options` from `options`; returns the hub that they name.

    Raises CommandFailed.
    """
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
        tls=find_tls(files, tls=given["tls"] or bool(above.get("tls"))),
        tls_files=files,
        is_named=bool(named),
    )


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="LLM_HUB_DATA_DIR",
    help=f"The directory where the hub keeps {ADMIN_TOKEN_FILE}, for calls without --token.",
)


def hub_options(command: _Command) -> _Command:
    """Adds the options that name the hub to `command`; see `find_hub`."""
    return global_options(data_dir_option(command))


def hub_command(command: _Command) -> _Command:
    """Adds the global options to `command`, and turns them into a client and a format.

    Calls it as `command(hub=Hub, output=str, …)`; CallFailed becomes CommandFailed.
    """

    @functools.wraps(command)
    def run(**options: Any) -> object:
        target = find_hub(options)
        with target.connect() as hub:
            return command(hub=hub, output=target.output, **options)

    return hub_options(run)


def _check_address(address: str) -> None:
    if "://" in address:
        raise CommandFailed(
            f"--hub: {printable(address)!r} is a URL",
            ExitCode.USAGE,
            advice=f"give the gRPC port as HOST:PORT, such as {DEFAULT_ADDRESS}",
        )
    try:
        parse_listen_address(address)
    except AddressError as error:
        raise CommandFailed(f"--hub: {error}", ExitCode.USAGE) from None


def _checked(token: str, place: str) -> str:
    # Metadata takes visible ASCII only; gRPC's own error message would show the token.
    if not token or not all("!" <= character <= "~" for character in token):
        raise CommandFailed(f"{place}: not a token", ExitCode.NOT_AUTHORISED)
    return token
