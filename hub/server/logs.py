"""The log: structured events on stderr, readable on a terminal, otherwise JSON.

A module logs with `structlog.get_logger().info("event", key=value)`; standard
library loggers produce the same form. The last processor removes secrets, so that
no caller can forget to.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from hub.base import request_id
from hub.base.settings import LogSettings

REDACTED = "[redacted]"

_SECRET_NAMES = re.compile(r"(?i)(^|[_-])(token|api_?key|authorization|password|secret)$")
_HUB_TOKEN = re.compile(r"llmhub_[A-Za-z0-9]+_[A-Za-z0-9_-]+")
_BEARER = re.compile(r"(?i)\b(bearer)\s+[^\s\"',]+")

# Values nested deeper than this are logged as text.
_MAX_DEPTH = 6


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Sends structlog and the standard library's loggers to `stream` (stderr).

    May be called again; the last call takes effect.
    """
    out = stream if stream is not None else sys.stderr
    on_terminal = out.isatty()
    as_json = settings.format == "json" or (settings.format == "auto" and not on_terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer(sort_keys=True)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=on_terminal, timestamp_key="time")
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    # A line for every request would drown the hub's own events.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: adds the id of the request or connection of the event."""
    if id_ := request_id.current():
        event.setdefault("request_id", id_)
    return event


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: removes secrets from values and from the event's text."""
    return {
        key: REDACTED if _is_secret(key, value) else _clean(value) for key, value in event.items()
    }


def redact_text(text: str) -> str:
    """`text` without the hub's tokens and bearer credentials."""
    # The substring tests come first: the expressions took a third of an event's time.
    if "llmhub_" in text:
        text = _HUB_TOKEN.sub(REDACTED, text)
    if "bearer" in text.lower():
        text = _BEARER.sub(rf"\1 {REDACTED}", text)
    return text


def _is_secret(name: object, value: object) -> bool:
    # None and booleans say whether there is a secret, never which.
    if value is None or isinstance(value, bool):
        return False
    return isinstance(name, str) and _SECRET_NAMES.search(name) is not None


def _clean(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= _MAX_DEPTH:
        return redact_text(str(value))
    if isinstance(value, Mapping):
        return {
            key: REDACTED if _is_secret(key, item) else _clean(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth + 1) for item in value]
    return redact_text(str(value))
