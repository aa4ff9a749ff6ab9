"""Client certificates as the transports get them: read once, and checked against the CRLs."""

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from cryptography import x509

from hub.base.load_settings import StartError
from hub.base.tls_files import TlsFilesError, read_file
from hub.service.access.peer_certificate import PeerCertificate, require_valid

_MAX_CACHED: Final = 4_096

_BEGIN: Final = b"-----BEGIN X509 CRL-----"


def shown_certificate(transport: asyncio.BaseTransport | None) -> bytes | None:
    """The certificate that the peer of a TLS connection has shown, in DER."""
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    return tls.getpeercert(binary_form=True) if tls is not None else None


class PeerCertificates:
    """Reads certificates that TLS has verified, and knows which are revoked since."""

    def __init__(self, crl_file: str) -> None:
        """Raises StartError, in one line that names the file."""
        self._crl_file = crl_file
        self._revoked = _revoked(crl_file)
        # By the bytes of the certificate. Sessions, streams and calls hold theirs, so that
        # each open connection's certificate is here.
        self._known: WeakValueDictionary[bytes, PeerCertificate] = WeakValueDictionary()
        # Saves connections that come again the reading; the least recently used comes first.
        self._recent: OrderedDict[bytes, PeerCertificate] = OrderedDict()

    def reload(self) -> None:
        """Reads the CRLs again, and marks the known certificates that they revoke.

        Raises StartError, and then has changed nothing.
        """
        self._revoked = _revoked(self._crl_file)
        for certificate in list(self._known.values()):
            certificate.is_revoked = certificate.number in self._revoked

    def read(self, encoded: bytes | None) -> PeerCertificate | None:
        """The certificate in DER or PEM; None if the peer has shown none.

        Raises InvalidToken if it is revoked.
        """
        if not encoded:
            return None
        certificate = self._known.get(encoded)
        if certificate is None:
            certificate = self._known[encoded] = _parse(encoded)
            certificate.is_revoked = certificate.number in self._revoked
        self._recent[encoded] = certificate
        self._recent.move_to_end(encoded)
        if len(self._recent) > _MAX_CACHED:
            self._recent.popitem(last=False)
        require_valid(certificate)
        return certificate


def _parse(encoded: bytes) -> PeerCertificate:
    is_pem = encoded.startswith(b"-----")
    load = x509.load_pem_x509_certificate if is_pem else x509.load_der_x509_certificate
    found = load(encoded)
    names: list[str] = []
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        pass
    else:
        sans = extension.value
        names += (f"dns:{each.lower()}" for each in sans.get_values_for_type(x509.DNSName))
        uris = sans.get_values_for_type(x509.UniformResourceIdentifier)
        names += (f"uri:{each}" for each in uris)
    end_ms = round(found.not_valid_after_utc.timestamp() * 1000)
    number = (found.issuer.public_bytes(), found.serial_number)
    return PeerCertificate(tuple(names), end_ms, number)


def _revoked(file: str) -> frozenset[tuple[bytes, int]]:
    """What the lists in a file revoke. Raises StartError."""
    if not file:
        return frozenset()
    try:
        text = read_file("crl", str(Path(file)))
        lists = [x509.load_pem_x509_crl(_BEGIN + part) for part in text.split(_BEGIN)[1:]]
    except TlsFilesError as error:
        raise StartError(f"tls.crl_file: {error}") from None
    except ValueError:
        raise StartError(f"tls.crl_file: {file}: no revocation list in PEM") from None
    if not lists:
        raise StartError(f"tls.crl_file: {file}: no revocation list in PEM")
    return frozenset(
        (each.issuer.public_bytes(), entry.serial_number) for each in lists for entry in each
    )
