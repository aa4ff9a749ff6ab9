"""Why a connection to the hub ended, and what that means for the next one. Pure."""

import re
from dataclasses import dataclass

_COOLDOWN = re.compile(r"retry in (\d{1,6})s")

# A refused token stays refused until an admin acts.
REFUSED_WAIT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended.

    `reason` is for the log. `wait_ms` is how long to stay away at the least.
    `is_soon`: the hub said that it will be back. `is_replaced`: another
    connection has taken this agent's place.
    """

    reason: str
    wait_ms: int = 0
    is_soon: bool = False
    is_replaced: bool = False


def ending_of_close(code: int | None, reason: str) -> Ending:
    """Reads a close frame of the hub: code and reason as RFC 6455, section 7.1.5 has them."""
    said = f"{reason} ({code})" if reason else f"code {code}"
    match code:
        case 1001:
            return Ending(f"the hub goes away: {said}", is_soon=True)
        case 1008:
            cooldown = _COOLDOWN.search(reason)
            wait_ms = int(cooldown[1]) * 1000 if cooldown else REFUSED_WAIT_MS
            return Ending(f"the hub refused: {said}", wait_ms=wait_ms)
        case 4001:
            return Ending("another sidecar identified as this agent", is_replaced=True)
        case None | 1006:
            return Ending("the connection was lost")
    return Ending(f"the hub closed the connection: {said}")
