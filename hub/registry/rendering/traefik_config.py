"""Traefik's dynamic configuration: a router, a service and middlewares for each model.

The hub serves it to Traefik's HTTP provider; the command prints it for the file provider. For
Traefik 3.4 or newer. See https://doc.traefik.io/traefik/reference/routing-configuration/.
"""

from hub.registry.rendering.block_yaml import Plain, block_yaml
from hub.registry.rendering.model_routes import ModelRoute, model_routes
from hub.registry.rendering.routable_fleet import RoutableFleet, RoutableServer

# The health checks of Traefik are off: the hub takes away a server that does not answer.
_BALANCING: Plain = "p2c"


def traefik_config(fleet: RoutableFleet) -> str:
    """The configuration as YAML, with the reasons why something is left out."""
    return model_routes(fleet, _common).remarks() + block_yaml(traefik_dynamic(fleet))


def traefik_dynamic(fleet: RoutableFleet) -> dict[str, Plain]:
    """The configuration as plain values; Traefik refuses sections that are empty."""
    routers: dict[str, Plain] = {}
    services: dict[str, Plain] = {}
    middlewares: dict[str, Plain] = {}
    for route in model_routes(fleet, _common).routes:
        own = _middlewares(route)
        middlewares |= own
        routers[route.name] = {
            "rule": f"PathPrefix(`{route.path}`)",
            "service": route.name,
            "middlewares": list(own),
        }
        servers: list[Plain] = [{"url": server.origin} for server in route.servers]
        services[route.name] = {
            "loadBalancer": {
                "strategy": _BALANCING,
                # The server's own name, not the client's.
                "passHostHeader": False,
                "servers": servers,
                "responseForwarding": {"flushInterval": "1ms"},
            }
        }
    if not routers:
        return {}
    return {"http": {"routers": routers, "services": services, "middlewares": middlewares}}


def _common(server: RoutableServer) -> tuple[object, ...]:
    return server.base_path, server.key


def _middlewares(route: ModelRoute) -> dict[str, Plain]:
    """In the order in which a request passes them."""
    prefix = route.path.removesuffix("/")
    own: dict[str, Plain] = {f"{route.name}_strip": {"stripPrefix": {"prefixes": [prefix]}}}
    if route.base_path:
        own[f"{route.name}_base"] = {"addPrefix": {"prefix": route.base_path}}
    if route.key is not None and route.key.value is not None:
        headers = {"Authorization": f"Bearer {route.key.value}"}
        own[f"{route.name}_key"] = {"headers": {"customRequestHeaders": headers}}
    return own
