"""TLS on the way to a hub: whom a command trusts, who it is, and why there is no way."""

import socket
import ssl
from collections.abc import Sequence

import grpc

from hub.base.address import parse_listen_address
from hub.base.tls_files import TlsFiles, TlsFilesError
from hub.cli.failures import CommandFailed, ExitCode

_TIMEOUT_S = 3.0


def find_credentials(files: TlsFiles, *, tls: bool) -> grpc.ChannelCredentials | None:
    """What the files and --tls ask for; None: plain text. Raises CommandFailed."""
    if not files:
        return grpc.ssl_channel_credentials() if tls else None
    try:
        return grpc.ssl_channel_credentials(*files.pem())
    except TlsFilesError as error:
        raise CommandFailed(f"--tls-{error.option}: {error}", ExitCode.USAGE) from None


def open_channel(
    address: str,
    credentials: grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, int]],
) -> grpc.Channel:
    """A channel to a hub; without `credentials` it speaks plain text."""
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


def why_no_handshake(address: str, files: TlsFiles, *, tls: bool) -> str | None:
    """Why a hub that accepts connections at `address` is not spoken to; None: cannot be told.

    gRPC says of all that only that the address is not available. Takes 6 s at most.
    """
    host, port = parse_listen_address(address)
    try:
        context = files.context() if tls else _trusting_anybody()
    except TlsFilesError as error:
        return f"--tls-{error.option}: {error}"
    # A gRPC server ends handshakes without it (RFC 9113, section 3.2).
    context.set_alpn_protocols(["h2"])
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            try:
                with context.wrap_socket(connection, server_hostname=host) as secured:
                    if not tls:
                        return f"the hub at {address} speaks TLS: give --tls or --tls-ca FILE"
                    # A server's SETTINGS come first and at once, unless it closes
                    # because of the certificate, which TLS 1.3 looks at last.
                    is_closed = secured.recv(1) == b""
            except ssl.SSLCertVerificationError as error:
                return (
                    f"the certificate of the hub at {address} is not trusted: "
                    f"{error.verify_message}; give its authority with --tls-ca FILE"
                )
            except ssl.SSLError as error:
                if not tls:
                    return None
                if "ALERT" not in (error.reason or ""):
                    return f"what answers at {address} speaks no TLS, at least not now"
                is_closed = True
    except OSError:
        return None
    return _refused(address, files) if is_closed else None


def _refused(address: str, files: TlsFiles) -> str:
    if files.cert:
        return f"the hub at {address} does not accept the certificate in {files.cert}"
    return f"the hub at {address} demands a certificate: give --tls-cert FILE and --tls-key FILE"


def _trusting_anybody() -> ssl.SSLContext:
    """Only to see whether a server speaks TLS at all; nothing is said to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
