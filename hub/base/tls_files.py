"""Certificates and keys in PEM files, for both ends of a TLS connection.

The command, the client library, the sidecar and the hub's own servers share this
module. It works without gRPC, which the sidecar does not load.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

IN_PLACE_OF_TOKEN: Final = "certificate"  # noqa: S105 - a word, no secret
"""What an `identify` has as its token if the connection's certificate is the proof."""


class TlsFilesError(Exception):
    """A file cannot be used. `option` says which, such as "cert"; the message is one line."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The TLS files of a client; "" means that there is no such file.

    `ca`: the only certificates to trust. `cert`: the client's own certificate and its
    intermediates. `key`: the private key; "" if it is in `cert`.
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
        """Reads missing options from LLM_HUB_TLS_CA, LLM_HUB_TLS_CERT and LLM_HUB_TLS_KEY."""
        given = {"CA": ca, "CERT": cert, "KEY": key}
        return cls(
            *(each or environment.get(f"LLM_HUB_TLS_{name}", "") for name, each in given.items())
        )

    def __bool__(self) -> bool:
        return bool(self.ca or self.cert or self.key)

    def context(self) -> ssl.SSLContext:
        """Creates a client's context; without `ca` it trusts the system's. Raises TlsFilesError."""
        if self.key and not self.cert:
            raise TlsFilesError("key", f"{self.key}: a key requires a certificate")
        cadata = certificates("ca", self.ca) if self.ca else None
        context = ssl.create_default_context(cadata=cadata)
        if self.cert:
            load_chain(context, self.cert, self.key)
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Returns roots, key and certificate chain, as gRPC expects. Raises TlsFilesError.

        The files are checked here, because gRPC would only report an unreachable hub.
        """
        self.context()
        return (
            read_file("ca", self.ca) if self.ca else None,
            read_file("key", self.key or self.cert) if self.cert else None,
            read_file("cert", self.cert) if self.cert else None,
        )


def read_file(option: str, file: str) -> bytes:
    """The contents of a file. Raises TlsFilesError."""
    try:
        return _path(file).read_bytes()
    except OSError as error:
        raise TlsFilesError(option, f"{file}: {error.strerror or error}") from None


def certificates(option: str, file: str) -> str:
    """The certificates in a file, as the `cadata` of a context. Raises TlsFilesError."""
    # CA bundles have comments in any encoding; PEM itself is ASCII (RFC 7468).
    text = read_file(option, file).decode("ascii", "ignore")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    # ValueError: there is no data at all.
    except (ssl.SSLError, ValueError):
        raise TlsFilesError(option, f"{file}: contains no PEM certificate") from None
    return text


def load_chain(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Loads a certificate chain and its key into a context; `key` is "" if `cert` contains it.

    Raises TlsFilesError.
    """
    option, file = ("key", key) if key else ("cert", cert)
    if b"-----BEGIN CERTIFICATE-----" not in read_file("cert", cert):
        raise TlsFilesError("cert", f"{cert}: contains no PEM certificate")
    if b"PRIVATE KEY-----" not in read_file(option, file):
        raise TlsFilesError(option, f"{file}: contains no PEM key")
    try:
        # Without a password callback OpenSSL asks for one on the terminal.
        context.load_cert_chain(_path(cert), _path(file), password=_no_password)
    except _EncryptedKeyError:
        raise TlsFilesError(option, f"{file}: is encrypted; use a key without a password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFilesError(option, f"{file} is not the key of {cert}") from None
        raise TlsFilesError(
            "cert", f"{cert} and {file} are not a PEM certificate and its key"
        ) from None
    except OSError as error:
        raise TlsFilesError("cert", f"{cert}, {file}: {error.strerror or error}") from None


def _path(file: str) -> Path:
    return Path(file).expanduser()


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError
