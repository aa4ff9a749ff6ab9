"""Open WebUI's connections as environment variables, for `--env-file` or a unit file.

See https://docs.openwebui.com/getting-started/env-configuration/.
"""

from hub.registry.rendering.routable_fleet import RoutableFleet, RoutableServer
from llmhub.v1.endpoint_pb2 import BACKEND_OLLAMA

_NOTE = """\
# Open WebUI reads these at its first start and then keeps them in its database, unless
# ENABLE_PERSISTENT_CONFIG is "False".
ENABLE_PERSISTENT_CONFIG=False
"""


def open_webui_env(fleet: RoutableFleet) -> str:
    """The variables, one on each line, without quotes: Docker would take them literally."""
    ollamas = [server for server in fleet.servers if _is_plain_ollama(server)]
    others = [server for server in fleet.servers if not _is_plain_ollama(server)]
    lines = [
        f"ENABLE_OLLAMA_API={bool(ollamas)}",
        f"OLLAMA_BASE_URLS={';'.join(server.url for server in ollamas)}",
        f"ENABLE_OPENAI_API={bool(others)}",
        f"OPENAI_API_BASE_URLS={';'.join(f'{server.url}/v1' for server in others)}",
        f"OPENAI_API_KEYS={';'.join(map(_key, others))}",
    ]
    missing = sorted(
        {server.key.variable for server in others if server.key and server.key.value is None}
    )
    notes = [
        f"# OPENAI_API_KEYS lacks the value of {variable}: an env file cannot refer to it."
        for variable in missing
    ]
    return _NOTE + "".join(f"{line}\n" for line in (*notes, *lines))


def _is_plain_ollama(server: RoutableServer) -> bool:
    """Whether Open WebUI's own Ollama connection can reach it; keys go with OpenAI's API only."""
    return server.backend == BACKEND_OLLAMA and server.key is None


def _key(server: RoutableServer) -> str:
    # The lists are matched by position, and an empty entry would be ambiguous.
    return server.key.value if server.key is not None and server.key.value else "none"
