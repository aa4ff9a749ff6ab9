"""Every kind of caller that an authorization matrix has a column for."""

from dataclasses import dataclass

from hub.base.clock import ManualClock
from llmhub.v1.admin_service_pb2 import RevokeTokenRequest
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, ROLE_SIDECAR, TokenScope
from tests.support.hub import RunningHub

AGENT = "gpu-1"
OTHER_AGENT = "gpu-2"

_ROLES = {
    "reader": (ROLE_READER, ""),
    "admin": (ROLE_ADMIN, ""),
    "own sidecar": (ROLE_SIDECAR, AGENT),
    "other sidecar": (ROLE_SIDECAR, OTHER_AGENT),
}
# Callers whose token is limited to less than the role. Two of the calls that a sidecar's
# conversation begins with stay, so that its frames can be judged.
_SCOPED = {
    "reader out of scope": ("reader", TokenScope(rpcs=["GetSchemas"])),
    "admin out of scope": ("admin", TokenScope(rpcs=["GetSchemas"])),
    "own sidecar out of scope": ("own sidecar", TokenScope(rpcs=["Identify", "Ping"])),
    "reader of a part": ("reader", TokenScope(labels={"site": "lab"})),
    "read-only admin": ("admin", TokenScope(read_only=True)),
}
_MAY_NOT_SIGN_IN = {"reader out of scope", "admin out of scope", "reader of a part"}
_SHORT_S = 60


@dataclass(frozen=True)
class Bearers:
    """Tokens and browser sessions by the name of the column; "" proves nothing."""

    tokens: dict[str, str]
    cookies: dict[str, str]


async def make_bearers(hub: RunningHub, clock: ManualClock) -> Bearers:
    """Makes every kind of token, and a browser session of each kind that may have one."""
    created = {name: await hub.created_token(*role) for name, role in _ROLES.items()}
    for name in ("reader", "admin", "own sidecar"):
        created[f"revoked {name}"] = await hub.created_token(*_ROLES[name])
        created[f"expired {name}"] = await hub.created_token(*_ROLES[name], _SHORT_S)
    for name, (role, scope) in _SCOPED.items():
        created[name] = await hub.created_token(*_ROLES[role], scope=scope)
    tokens = {name: each.token for name, each in created.items()}
    cookies = {
        f"session of {name}": await _sign_in(hub, token)
        for name, token in tokens.items()
        if "sidecar" not in name and name not in _MAY_NOT_SIGN_IN
    }
    for name, each in created.items():
        if name.startswith("revoked"):
            await hub.call("RevokeToken", RevokeTokenRequest(id=each.token_info.id))
    clock.advance(_SHORT_S * 1000)
    known = tokens["admin"]
    garbage = {
        "none": "",
        "garbage": "garbage",
        # The id of a token that exists, and a secret of the right length.
        "forged": f"{known[:20]}{'A' * (len(known) - 20)}",
    }
    return Bearers(garbage | tokens, cookies)


async def _sign_in(hub: RunningHub, token: str) -> str:
    """Opens a browser session and returns its cookie, as a header."""
    answer = await hub.http(
        "POST",
        "/api/dashboard/session",
        token="",
        body={"token": token},
        headers={"X-LLM-Hub": "1", "Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status == 200, answer
    hub.session.cookie_jar.clear()
    return answer.headers["Set-Cookie"].partition(";")[0]
