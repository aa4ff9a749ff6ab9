"""A private authority with the files that a hub with client certificates needs."""

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hub.base.private_ca import Issued, PrivateCa


@dataclass(frozen=True)
class Shown:
    """A client's certificate in files, and the authority that it trusts."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.cert, self.key)
        return context

    def grpc(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes()
        )


class Authority:
    """Makes certificates in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.private = PrivateCa.create(f"test {directory.name}", now_ms())
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self.private.pem().certificate)
        self.crl = directory / "crl.pem"
        self.revoke()
        self._write("hub", self.private.issue_server(["127.0.0.1", "localhost"], now_ms()))

    def client(self, *names: str, days: int = 1) -> Shown:
        stem = names[0].replace("/", "_").replace(":", "_").replace("*", "any")
        return self._write(stem, self.private.issue_client(names, now_ms(), days))

    def revoke(self, *shown: Shown) -> None:
        """Writes the list of revoked certificates; the hub reads it at the next reload."""
        self.crl.write_bytes(
            self.private.revoke([each.cert.read_bytes() for each in shown], now_ms())
        )

    def settings(self, *identities: dict[str, str], **more: Any) -> dict[str, Any]:
        """The section [tls] of a hub that takes these clients."""
        return {
            "cert_file": str(self.directory / "hub.pem"),
            "key_file": str(self.directory / "hub.key"),
            "client_ca_file": str(self.ca),
            "crl_file": str(self.crl),
            "identities": identities,
            **more,
        }

    def _write(self, stem: str, issued: Issued) -> Shown:
        shown = Shown(self.ca, self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
        shown.cert.write_bytes(issued.certificate)
        shown.key.write_bytes(issued.key)
        return shown


def now_ms() -> int:
    return time.time_ns() // 1_000_000
