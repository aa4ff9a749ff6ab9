"""The files with which a caller uses TLS to a hub: what it trusts, and its certificate.

The command, the client library and the sidecar share it. It does not import gRPC,
which the sidecar does not load.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self


class TlsFilesError(Exception):
    """A file is unusable. `option` is "ca", "cert" or "key"; the message is one line."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Files in PEM, each "" if there is none.

    `ca`: the only certificates to trust. `cert`: the caller's own certificate, with
    those between it and its authority. `key`: its key; "" if it is in `cert`.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(
        cls,
        ca: str | None,
        cert: str | None,
        key: str | None,
        environment: Mapping[str, str] = os.environ,
    ) -> Self:
        """What is None comes from LLM_HUB_TLS_CA, LLM_HUB_TLS_CERT and LLM_HUB_TLS_KEY."""
        given = {"CA": ca, "CERT": cert, "KEY": key}
        return cls(
            *(each or environment.get(f"LLM_HUB_TLS_{name}", "") for name, each in given.items())
        )

    def __bool__(self) -> bool:
        return bool(self.ca or self.cert or self.key)

    def context(self) -> ssl.SSLContext:
        """A context of these files; without `ca` it trusts the system. Raises TlsFilesError."""
        return _context(self, *self._read())

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Roots, key and certificates as gRPC takes them. Raises TlsFilesError.

        gRPC itself would only say later that no hub answers.
        """
        roots, key, certificates = self._read()
        _context(self, roots, key, certificates)
        return roots, key, certificates

    def _read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        if self.key and not self.cert:
            raise TlsFilesError("key", f"{self.key}: without a certificate it is of no use")
        return (
            _bytes("ca", self.ca) if self.ca else None,
            _bytes("key" if self.key else "cert", self.key or self.cert) if self.cert else None,
            _bytes("cert", self.cert) if self.cert else None,
        )


def _bytes(option: str, file: str) -> bytes:
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise TlsFilesError(option, f"{file}: {error.strerror or error}") from None


def _context(
    files: TlsFiles, roots: bytes | None, key: bytes | None, certificates: bytes | None
) -> ssl.SSLContext:
    try:
        # Bundles name authorities in comments, in any encoding; PEM itself is ASCII (RFC 7468).
        cadata = None if roots is None else roots.decode("ascii", "ignore")
        context = ssl.create_default_context(cadata=cadata)
        # Without data it would trust the system.
        if cadata == "":
            raise ValueError
    # An SSLError is an OSError too.
    except (ssl.SSLError, ValueError):
        raise TlsFilesError("ca", f"{files.ca}: no certificate in PEM") from None
    if certificates is not None and key is not None:
        _show(context, files, key, certificates)
    return context


def _show(context: ssl.SSLContext, files: TlsFiles, key: bytes, certificates: bytes) -> None:
    if b"-----BEGIN CERTIFICATE-----" not in certificates:
        raise TlsFilesError("cert", f"{files.cert}: no certificate in PEM")
    option, file = ("key", files.key) if files.key else ("cert", files.cert)
    if b"PRIVATE KEY-----" not in key:
        raise TlsFilesError(option, f"{file}: no key in PEM")
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(
            Path(files.cert).expanduser(), Path(file).expanduser(), password=_no_password
        )
    except _EncryptedKeyError:
        raise TlsFilesError(
            option, f"{file}: is encrypted; give a key without a password"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFilesError(option, f"{file} is not the key of {files.cert}") from None
        raise TlsFilesError(
            "cert", f"{files.cert} and {file} are no certificate and key in PEM"
        ) from None
    except OSError as error:
        raise TlsFilesError("cert", f"{files.cert}, {file}: {error.strerror or error}") from None


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError
