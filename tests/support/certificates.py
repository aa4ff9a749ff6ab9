"""Certificates created on demand with the system's openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """The PEM files of a certificate and its key."""

    cert: Path
    key: Path


def encrypted_key(certificate: Certificate) -> Path:
    """The certificate's key, encrypted with a password."""
    locked = certificate.key.with_name("locked.key")
    subprocess.run(
        [
            *("openssl", "ec", "-in", certificate.key, "-out", locked),
            *("-aes256", "-passout", "pass:secret"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return locked


def self_signed(directory: Path, name: str = "hub") -> Certificate:
    """A self-signed certificate for 127.0.0.1 and localhost."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on PATH")
    made = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(made.key), "-out", str(made.cert)),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return made
