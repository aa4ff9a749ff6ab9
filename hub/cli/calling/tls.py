"""TLS to a hub: the certificates of a command, and why a handshake fails."""

import socket
import ssl

from hub.base.address import parse_listen_address
from hub.base.tls_files import TlsFiles, TlsFilesError
from hub.cli.failures import CommandFailed, ExitCode
from hub.cli.output.printable import printable
from hub.client import Tls

_TIMEOUT_S = 3.0


def find_tls(files: TlsFiles, *, tls: bool) -> Tls | None:
    """What the files and --tls ask for; None means plain text. Raises CommandFailed."""
    if not files:
        return Tls() if tls else None
    try:
        return Tls.of(files)
    except TlsFilesError as error:
        raise CommandFailed(f"--tls-{error.option}: {error}", ExitCode.USAGE) from None


def why_no_handshake(address: str, files: TlsFiles, *, tls: bool) -> CommandFailed | None:
    """Why there is no handshake with what listens at `address`; None if that is unknown.

    gRPC only says that the address is unavailable. Takes at most 6 s.
    """
    try:
        context = files.context() if tls else _trusting_everything()
    except TlsFilesError as error:
        return _failed(f"--tls-{error.option}: {error}")
    # A gRPC server ends handshakes without it (RFC 9113, section 3.2).
    context.set_alpn_protocols(["h2"])
    host, port = parse_listen_address(address)
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            try:
                with context.wrap_socket(connection, server_hostname=host) as secured:
                    if not tls:
                        return _failed(
                            f"the hub at {address} speaks TLS", "give --tls or --tls-ca FILE"
                        )
                    # A server's SETTINGS come first and at once, unless it closes
                    # because of the certificate, which TLS 1.3 checks last.
                    is_closed = secured.recv(1) == b""
            except ssl.SSLCertVerificationError as error:
                return _failed(
                    f"the certificate of the hub at {address} is not trusted: "
                    f"{error.verify_message}",
                    "give its authority with --tls-ca FILE",
                )
            except ssl.SSLError as error:
                if not tls:
                    return None
                if "ALERT" not in (error.reason or ""):
                    return _failed(f"what answers at {address} speaks no TLS, at least not now")
                is_closed = True
    except OSError:
        return None
    if not is_closed:
        return None
    if files.cert:
        return _failed(f"the hub at {address} does not accept the certificate in {files.cert}")
    return _failed(
        f"the hub at {address} demands a certificate", "give --tls-cert FILE and --tls-key FILE"
    )


def _failed(found: str, advice: str = "") -> CommandFailed:
    return CommandFailed(printable(found), ExitCode.UNREACHABLE, advice=advice)


def _trusting_everything() -> ssl.SSLContext:
    """Only to see whether a server speaks TLS at all; no data follows the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
