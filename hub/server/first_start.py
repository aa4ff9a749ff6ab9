"""What a hub needs before it serves: a private directory, a first revision, an admin token."""

import contextlib
import os
import resource
import stat
from pathlib import Path

import structlog

from hub.base.data_dir import ADMIN_TOKEN_FILE
from hub.base.load_settings import StartError
from hub.service.access.tokens import TokenRegistry
from hub.stores.store import Store
from llmhub.v1.resources_pb2 import ROLE_ADMIN

log = structlog.get_logger()

# More than one incarnation ever uses: 20,000 changes per second for eight weeks.
_MAX_REVISIONS = 100_000_000_000


def prepare_data_dir(directory: Path) -> None:
    """Creates the directory, or makes it private to its owner. Raises StartError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"data directory {directory}: {error.strerror or error}") from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise StartError(f"data directory {directory}: not writable; change its owner or mode")
    _tighten(directory)


def _tighten(directory: Path) -> None:
    found = directory.stat()
    mode = stat.S_IMODE(found.st_mode)
    if not mode & 0o077:
        return
    # The hub must not restrict a directory that is shared on purpose, such as /tmp.
    is_shared = mode & stat.S_ISVTX or directory.resolve().parent == directory.resolve()
    if found.st_uid == os.geteuid() and not is_shared:
        with contextlib.suppress(OSError):
            directory.chmod(0o700)
            log.info("data directory closed to others", path=str(directory), mode=f"{mode:04o}")
            return
    log.warning(
        "others can reach the data directory; chmod 700 it, or give the hub one of its own",
        path=str(directory),
        mode=f"{mode:04o}",
    )


def raise_open_files() -> None:
    """Lets the process open as many files as the system allows.

    Every sidecar and every probed endpoint takes a socket; the usual soft limit of
    1,024 exists for programs that use select(2).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def ensure_admin_token(
    directory: Path, store: Store, tokens: TokenRegistry, now_ms: int
) -> str | None:
    """Creates an admin token if none is valid; returns its secret, or None if one was valid.

    Also writes the secret to the data directory, readable only by its owner, where the
    `llm-hub` command finds it. Raises StoreError, StartError.
    """
    if any(info.role == ROLE_ADMIN for info in tokens.list(now_ms)):
        return None
    secret, _, put = tokens.mint(
        role=ROLE_ADMIN, agent_id="", ttl_ms=None, description="first run", now_ms=now_ms
    )
    file = directory / ADMIN_TOKEN_FILE
    try:
        # Never readable by others, not even for a moment.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(secret + "\n")
            out.flush()
            # The secret must be on disk before the store has the token.
            os.fsync(out.fileno())
    except OSError as error:
        raise StartError(f"{file}: {error.strerror or error}") from error
    await store.commit([put])
    return secret


async def new_first_revision(store: Store, now_ms: int) -> int:
    """A revision greater than all that earlier incarnations used. Raises StoreError."""
    wanted = now_ms * 1000
    number = await store.next_incarnation(wanted)
    if number > wanted:
        # The clock was set back. The number is greater than the last incarnation's first
        # revision, but that incarnation has counted on by an unknown amount.
        number = await store.next_incarnation(number + _MAX_REVISIONS)
    return number
