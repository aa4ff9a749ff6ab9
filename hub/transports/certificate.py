"""The hub's certificate, which its three servers share.

It can be read again while the hub runs: new connections use the new certificate, open
connections keep the old one.
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
    """The certificate, its key and, if clients need certificates, their authority."""

    def __init__(self, settings: TlsSettings) -> None:
        """Reads the files. Raises StartError, whose one-line message names the file."""
        self._settings = settings
        self._files = _read(settings)
        self.context = _context(settings, "http/1.1")
        """For the servers whose protocol starts as HTTP/1.1 (RFC 7301)."""
        self.http2_context = _context(settings, "h2")
        """For the native gRPC server."""
        self.peers = PeerCertificates(settings.crl_file)
        """For the certificates of clients."""

    def reload(self) -> None:
        """Reads certificate, key and CRLs again.

        If it raises StartError, nothing has changed.

        The clients' authority stays: OpenSSL only adds to the authorities that a context
        trusts, so a reload could not remove one.
        """
        certificate, key, _ = _read(self._settings)
        # If the files do not match, only this temporary context has loaded them.
        _context(self._settings, "h2")
        self.peers.reload()
        with _start_errors():
            for context in (self.context, self.http2_context):
                load_chain(context, self._settings.cert_file, self._settings.key_file)
        self._files = certificate, key, self._files[2]

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which reads the certificate at every handshake."""
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
    # Of TLS 1.2 only what has forward secrecy and an AEAD; TLS 1.3 has nothing else.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([protocol])
    if protocol == "h2":
        # RFC 9113, sections 9.2.1 and 9.2.2, for TLS 1.2.
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
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
