"""The programs whose configuration the hub knows, by the word that names them in commands."""

from collections.abc import Callable, Mapping
from typing import Final

from hub.registry.rendering.haproxy_config import haproxy_config
from hub.registry.rendering.litellm_config import litellm_config
from hub.registry.rendering.llama_swap_peers import llama_swap_config
from hub.registry.rendering.llm_d_endpoints import llm_d_endpoints
from hub.registry.rendering.nginx_config import nginx_config
from hub.registry.rendering.olla_config import olla_config
from hub.registry.rendering.open_webui_env import open_webui_env
from hub.registry.rendering.routable_fleet import RoutableFleet
from hub.registry.rendering.traefik_config import traefik_config

Render = Callable[[RoutableFleet], str]

DEFAULT_LISTEN: Final = "127.0.0.1:8090"


def programs(listen: str = DEFAULT_LISTEN) -> Mapping[str, Render]:
    """A renderer for each program; `listen` is where those that need it accept requests."""
    return {
        "litellm": litellm_config,
        "olla": olla_config,
        "llama-swap": llama_swap_config,
        "nginx": lambda fleet: nginx_config(fleet, listen),
        "haproxy": lambda fleet: haproxy_config(fleet, listen),
        "traefik": traefik_config,
        "llm-d": llm_d_endpoints,
        "open-webui": open_webui_env,
    }
