"""Client certificates as the transports get them: read once, and checked against the CRLs."""

import asyncio
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cryptography import x509

from hub.base.load_settings import StartError
from hub.base.tls_files import TlsFilesError, read_file
from hub.contract.errors import InvalidToken
from hub.service.access.certificates import PeerCertificate, certificate_id

_MAX_CACHED: Final = 4_096

_BEGIN: Final = b"-----BEGIN X509 CRL-----"

_Key = tuple[bytes, int]
"""The issuer's name and the serial number, which together name a certificate."""


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
        # By the bytes of the certificate; the least recently used comes first.
        self._read: OrderedDict[bytes, tuple[_Key, PeerCertificate]] = OrderedDict()

    def reload(self) -> list[str]:
        """Reads the CRLs again; returns the ids of known certificates that are now revoked.

        Raises StartError, and then has changed nothing.
        """
        before, self._revoked = self._revoked, _revoked(self._crl_file)
        return [
            certificate_id(name)
            for key, certificate in self._read.values()
            if key in self._revoked and key not in before
            for name in certificate.names
        ]

    def read(self, encoded: bytes | None) -> PeerCertificate | None:
        """The certificate in DER or PEM; None if the peer has shown none.

        Raises InvalidToken if it is revoked.
        """
        if not encoded:
            return None
        known = self._read.get(encoded)
        if known is None:
            known = self._read[encoded] = _parse(encoded)
            if len(self._read) > _MAX_CACHED:
                self._read.popitem(last=False)
        else:
            self._read.move_to_end(encoded)
        key, certificate = known
        if key in self._revoked:
            raise InvalidToken("the client certificate is revoked")
        return certificate


def _parse(encoded: bytes) -> tuple[_Key, PeerCertificate]:
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
    key = (found.issuer.public_bytes(), found.serial_number)
    return key, PeerCertificate(tuple(names), end_ms)


def _revoked(file: str) -> frozenset[_Key]:
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
