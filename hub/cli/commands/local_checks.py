"""The checks of `llm-hub doctor` on the hub's own machine, one function each.

No check raises: a check that cannot run is a finding too.
"""

import errno
import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from hub.base.address import parse_listen_address
from hub.base.load_settings import ConfigError, load_settings
from hub.base.settings import Settings
from hub.cli.commands.diagnosis import Finding, Level, reachable
from hub.cli.output.grids import bytes_text

_LEAST_FREE_BYTES = 256 * 1024 * 1024


def settings_file(file: Path | None) -> tuple[Finding, Settings | None]:
    """Whether the settings can be read."""
    where = str(file) if file is not None else "environment"
    try:
        settings = load_settings(file, os.environ)
    except ConfigError as error:
        return Finding(
            Level.FAILED, "settings", str(error), "correct it; the hub does not start until then"
        ), None
    return Finding(Level.OK, "settings", f"{where}: fine"), settings


def data_directory(directory: Path) -> Iterator[Finding]:
    """Whether only its owner may enter the directory, and whether its disk has room."""
    try:
        status = directory.stat()
    except OSError as error:
        yield Finding(
            Level.WARNING,
            "data directory",
            f"{directory}: {error.strerror}",
            "no hub has run here; that is right if the hub runs on another machine",
        )
        return
    if status.st_mode & 0o077:
        yield Finding(
            Level.WARNING,
            "data directory",
            f"{directory}: others may enter (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod 700 {directory}",
        )
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield Finding(
            Level.WARNING,
            "data directory",
            f"{directory}: not writable by this user",
            "run the hub and this command as its owner",
        )
    else:
        yield Finding(Level.OK, "data directory", f"{directory}: accessible only by you")
    free = shutil.disk_usage(directory).free
    level = Level.OK if free >= _LEAST_FREE_BYTES else Level.FAILED
    advice = "" if level is Level.OK else "make room: a full disk refuses registrations"
    yield Finding(level, "disk", f"{bytes_text(free)} free", advice)


def token_file(file: Path) -> Finding:
    """Whether only its owner may read the admin token."""
    try:
        status = file.stat()
    except OSError as error:
        return Finding(
            Level.WARNING,
            "token file",
            f"{file}: {error.strerror}",
            "give --token, or set LLM_HUB_TOKEN, or start a hub on this data directory",
        )
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        return Finding(
            Level.FAILED,
            "token file",
            f"{file}: others may read it (mode {mode:04o})",
            f"chmod 600 {file}, then revoke the token and make a new one",
        )
    return Finding(Level.OK, "token file", f"{file}: accessible only by you")


def store_file(file: Path) -> Finding | None:
    """Whether SQLite finds its file intact; None if there is no file."""
    if not file.exists():
        return None
    try:
        # Read-only, so that it cannot disturb a running hub.
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=2)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            return Finding(Level.OK, "store", f"{file}: in use by a running hub")
        return Finding(
            Level.FAILED, "store", f"{file}: {error}", "stop the hub and restore a backup"
        )
    if verdict != "ok":
        return Finding(
            Level.FAILED, "store", f"{file}: {verdict}", "stop the hub and restore a backup"
        )
    return Finding(Level.OK, "store", f"{file}: intact, {file.stat().st_size / 2**20:.1f} MiB")


def own_port(name: str, address: str, is_a_hub: Callable[[str, str, int], bool | None]) -> Finding:
    """Whether a hub could listen there, or a hub already does.

    `is_a_hub` takes transport, host and port; it returns None if it cannot tell.
    """
    host, port = parse_listen_address(address)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        here = "::1" if ":" in host else "127.0.0.1"
        in_use = error.errno == errno.EADDRINUSE
        known = is_a_hub(name, *reachable(address, here)) if in_use else False
        if known:
            advice = f"to look at that hub: --hub {address}" if name == "grpc" else ""
            return Finding(Level.OK, f"port {name}", f"{address}: in use by a running hub", advice)
        if known is None:
            return Finding(
                Level.WARNING,
                f"port {name}",
                f"{address}: in use; cannot tell whether by a hub (TLS)",
                "give --tls-ca FILE, and --tls-cert FILE if the hub requires a certificate",
            )
        return Finding(
            Level.FAILED,
            f"port {name}",
            f"{address}: {error.strerror}",
            f"another program uses it; stop that program, or set {name}.address",
        )
    return Finding(Level.OK, f"port {name}", f"{address}: free")
