"""The bounds that no setting changes: how much a peer may make the hub hold, and for how long.

`hub.base.settings` has the bounds that can be set. docs/limits.md lists both.
"""

from typing import Final

RETRY_AFTER_MS: Final = 1_000
"""What a caller beyond a bound is told to wait, in milliseconds."""

# HTTP.

HTTP_HEALTH_CONNECTIONS: Final = 64
"""Connections beyond the bounds of HTTP that are answered: health checks, and refusals."""

HTTP_HEALTH_HEAD_S: Final = 2.0
"""Seconds that such a connection may take to send its request."""

SIGN_IN_BODY_BYTES: Final = 4_096
"""The body of a sign-in, which callers without a token send."""

HTTP_READ_BYTES: Final = 16_384
"""Bytes of a body that are buffered before the hub stops to read."""

HTTP_LINGER_S: Final = 2.0
"""Seconds that the rest of a refused body is read and dropped, so that the refusal arrives."""

EVENT_STREAMS: Final = 256
"""Open dashboards."""

EVENT_STREAMS_PER_TOKEN: Final = 32
"""Open dashboards of one token, over all its browser sessions."""

PAGE_BYTES: Final = 2_097_152
"""A page of endpoints or of a snapshot; it ends before the entry that would exceed this."""

# The registry.

MODEL_BYTES_PER_ENDPOINT: Final = 262_144
"""The encoded models of one endpoint; those on disk are left out before those in memory."""
