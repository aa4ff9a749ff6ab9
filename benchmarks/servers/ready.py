"""The protocol between a measured server and the benchmark: JSON lines on standard output."""

import asyncio
import json
import os
import signal
import ssl
from pathlib import Path

import grpc

from benchmarks.machine import raise_open_files


def say(**values: object) -> None:
    """Prints a JSON line for the benchmark."""
    print(json.dumps(values), flush=True)


def prepare() -> None:
    """Raises the limit of open files for 10,000 sockets; every server calls this first."""
    raise_open_files()


def tls_files() -> tuple[str, str] | None:
    """The files of the certificate and the key that a bare server uses; None without TLS."""
    certificate, key = os.environ.get("BENCH_CERT_FILE"), os.environ.get("BENCH_KEY_FILE")
    return (certificate, key) if certificate and key else None


def tls_context() -> ssl.SSLContext | None:
    """The same for a server in asyncio, with HTTP/2."""
    files = tls_files()
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    context.set_alpn_protocols(["h2"])
    return context


def add_port(server: grpc.aio.Server) -> int:
    """Lets a server of grpc.aio listen on loopback; returns the port."""
    files = tls_files()
    if files is None:
        return int(server.add_insecure_port("127.0.0.1:0"))
    certificate, key = (Path(name).read_bytes() for name in files)
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    return int(server.add_secure_port("127.0.0.1:0", credentials))


async def until_stopped() -> None:
    """Returns when the benchmark stops the server."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
