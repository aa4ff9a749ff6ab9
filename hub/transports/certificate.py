"""The hub's certificate, for its three servers.

One certificate serves all of them. It can be read again while the hub runs: new
connections get the new one, open connections keep theirs.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from hub.base.load_settings import StartError
from hub.base.security_settings import TlsSettings
from hub.base.tls_files import TlsFilesError, certificates, load_chain, read_file
from hub.transports.peer_certificates import PeerCertificates

_Files = tuple[bytes, bytes, bytes | None]


class ServerTls:
    """Certificate, key and, if clients need certificates too, the authority of theirs."""

    def __init__(self, settings: TlsSettings) -> None:
        """Reads the files. Raises StartError, in one line that names the file."""
        self._settings = settings
        self._files = _read(settings)
        self.context = _context(settings, "http/1.1")
        """For the servers that speak HTTP/1.1 first (RFC 7301)."""
        self.http2_context = _context(settings, "h2")
        """For the native gRPC server."""
        self.peers = PeerCertificates(settings.crl_file)
        """For the certificates of clients."""

    def reload(self) -> list[str]:
        """Reads certificate, key and CRLs again; returns what `PeerCertificates.reload` does.

        Raises StartError, and then has changed nothing.

        The authority of the clients stays: OpenSSL only adds to what a context trusts,
        so a reload could not stop trusting one.
        """
        certificate, key, _ = _read(self._settings)
        # If the files do not fit together, this throw-away context is the only one to load them.
        _context(self._settings, "h2")
        revoked = self.peers.reload()
        with _start_errors():
            for context in (self.context, self.http2_context):
                load_chain(context, self._settings.cert_file, self._settings.key_file)
        self._files = certificate, key, self._files[2]
        return revoked

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
    client_ca = settings.client_ca_file
    with _start_errors():
        return (
            read_file("cert", settings.cert_file),
            read_file("key", settings.key_file),
            read_file("client_ca", client_ca) if client_ca else None,
        )


def _context(settings: TlsSettings, protocol: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    with _start_errors():
        load_chain(context, settings.cert_file, settings.key_file)
        if settings.client_ca_file:
            cadata = certificates("client_ca", settings.client_ca_file)
            context.load_verify_locations(cadata=cadata)
            context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextmanager
def _start_errors() -> Iterator[None]:
    """Names the setting whose file cannot be used."""
    try:
        yield
    except TlsFilesError as error:
        raise StartError(f"tls.{error.option}_file: {error}") from None
