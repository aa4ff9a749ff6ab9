"""Gives each transport its share of the file descriptors that the system allows.

Without shares, connections to one transport could take the descriptors of the others, of
the store and of probes.
"""

import logging
import resource
from typing import Final

import structlog

from hub.base.settings import Settings

log = structlog.get_logger()

# Files, listening sockets, the store, its cluster, and what only lasts a moment.
_OWN: Final = 256
# Probes may take no more than this part of all: they wait for each other where they must.
_PROBES_PART: Final = 8
# Above its bound, a transport has connections in a handshake, refused ones, and a reserve for
# health checks.
_MARGIN: Final = 1.5
_RESERVE: Final = 64
# Below this part of what the settings say, the log warns.
_ALARMING: Final = 0.25


def allowed() -> int | None:
    """How many descriptors the process may open; None without a limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def shared_out(settings: Settings, descriptors: int | None) -> Settings:
    """The settings with as many connections as `descriptors` allow.

    If they allow fewer than the settings do, each transport gets fewer in proportion.
    """
    if descriptors is None:
        return settings
    probes = settings.probes
    probing = probes.concurrency + probes.doubtful_concurrency + probes.asked_concurrency
    left = descriptors - _OWN - min(probing, descriptors // _PROBES_PART)
    most = _connections(settings)
    share = max(left, 0) / sum(count * _MARGIN + _RESERVE for count in most.values())
    if share >= 1:
        return settings
    return settings.model_copy(
        update={
            name: getattr(settings, name).model_copy(
                update={"max_connections": max(1, int(count * share))}
            )
            for name, count in most.items()
        }
    )


def log_shares(wanted: Settings, shared: Settings) -> None:
    """Logs how many connections each transport has, if they are fewer than the settings say."""
    most, fewer = _connections(wanted), _connections(shared)
    if most == fewer:
        return
    # The defaults exceed what many systems allow, which is no problem while there is room.
    is_alarming = sum(fewer.values()) < _ALARMING * sum(most.values())
    log.log(
        logging.WARNING if is_alarming else logging.INFO,
        "the limit of open files allows fewer connections than max_connections; raise `ulimit -n`",
        **fewer,
    )


def _connections(settings: Settings) -> dict[str, int]:
    return {name: getattr(settings, name).max_connections for name in ("ws", "grpc", "http")}
