"""The hub's certificate, as its three transports need it.

One certificate serves all transports. The hub can read it again while it runs: new
connections get the new one, open ones keep theirs.
"""

import ssl
from pathlib import Path

import grpc

from hub.base.settings import TlsSettings
from hub.base.start_error import StartError

_Files = tuple[bytes, bytes, bytes | None]


class ServerTls:
    """Certificate, key and, if clients need certificates too, the authority that signs them."""

    def __init__(self, settings: TlsSettings) -> None:
        """Reads the files. Raises StartError, in one line that names the file."""
        self._settings = settings
        self._files = _read(settings)
        self.context = _context(settings)
        """For the transports that asyncio serves."""

    def reload(self) -> None:
        """Reads certificate and key again. Raises StartError, and then has changed nothing.

        The authority of clients' certificates stays: OpenSSL only adds to what a context
        trusts, so a reload could not withdraw trust.
        """
        certificate, key, _ = _read(self._settings)
        # If the files do not match, only this throw-away context has loaded them.
        _load(_bare_context(), self._settings)
        _load(self.context, self._settings)
        self._files = certificate, key, self._files[2]

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which asks for the certificate at every handshake."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._files),
            lambda: _configuration(self._files),
            require_client_authentication=bool(self._settings.client_ca_file),
        )


def _configuration(files: _Files) -> grpc.ServerCertificateConfiguration:
    certificate, key, client_ca = files
    return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


def _read(settings: TlsSettings) -> _Files:
    certificate = _bytes("cert_file", settings.cert_file)
    key = _bytes("key_file", settings.key_file)
    client_ca = settings.client_ca_file
    return certificate, key, _bytes("client_ca_file", client_ca) if client_ca else None


def _bytes(setting: str, file: str) -> bytes:
    try:
        return _path(file).read_bytes()
    except OSError as error:
        raise StartError(f"tls.{setting}: {file}: {error.strerror or error}") from None


def _path(file: str) -> Path:
    return Path(file).expanduser()


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = _bare_context()
    _load(context, settings)
    _trust(context, settings)
    return context


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Both transports that use it speak HTTP/1.1 first (RFC 7301).
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, settings: TlsSettings) -> None:
    certificate, key = settings.cert_file, settings.key_file
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(_path(certificate), _path(key), password=_no_password)
    except _EncryptedKeyError:
        raise StartError(
            f"tls.key_file: {key}: is encrypted; the hub asks for no password"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise StartError(f"tls: {key} is not the key of {certificate}") from None
        raise StartError(
            f"tls: {certificate} and {key} are no certificate and key in PEM"
        ) from None
    except OSError as error:
        raise StartError(f"tls: {certificate}, {key}: {error.strerror or error}") from None


def _trust(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.client_ca_file:
        try:
            context.load_verify_locations(_path(settings.client_ca_file))
        except ssl.SSLError:
            raise StartError(
                f"tls.client_ca_file: {settings.client_ca_file}: no certificate in PEM"
            ) from None
        except OSError as error:
            raise StartError(
                f"tls.client_ca_file: {settings.client_ca_file}: {error.strerror or error}"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError
