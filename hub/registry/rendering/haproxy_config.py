"""HAProxy: a backend for each model, chosen by the path or by `model` in a JSON body.

See https://docs.haproxy.org/2.6/configuration.html.
"""

from hub.base.address import join_host_port
from hub.registry.rendering.model_routes import ModelRoute, model_routes, refusal, server_name
from hub.registry.rendering.routable_fleet import RoutableFleet, RoutableServer

_HEAD = """\
global
    # `model` is found in the first bytes of a body only; each connection may take this much.
    tune.bufsize 131072

defaults llm_hub
    mode http
    option redispatch
    retries 2
    retry-on conn-failure empty-response 503
    timeout connect 3s
    timeout client 600s
    timeout server 600s
    timeout http-request 30s

frontend llm_hub from llm_hub
    bind {listen}
    option http-buffer-request
    http-request set-var(txn.model) req.body,json_query('$.model')
"""
_ADVICE = (
    "No server has this model, or the body names it too late: use the base URL /models/MODEL/v1."
)
_NO_MODEL = f"""\
    default_backend no_model

backend no_model from llm_hub
    http-request return status 404 content-type application/json string '{refusal(_ADVICE)}'
"""


def haproxy_config(fleet: RoutableFleet, listen: str) -> str:
    """The configuration, for HAProxy 2.6 or newer; `listen` is an address with a port."""
    routes = model_routes(fleet, _common)
    blocks = [
        routes.remarks(),
        _HEAD.format(listen=listen),
        *(_choice(route) for route in routes.routes),
        _NO_MODEL,
        *(_backend(route) for route in routes.routes),
    ]
    return "".join(blocks)


def _common(server: RoutableServer) -> tuple[object, ...]:
    return server.base_path, server.key


def _choice(route: ModelRoute) -> str:
    return (
        f'    use_backend {route.name} if {{ path_beg "{route.path}" }}\n'
        f'    use_backend {route.name} if {{ var(txn.model) -m str "{route.model}" }}\n'
    )


def _backend(route: ModelRoute) -> str:
    prefix = route.path.removesuffix("/")
    lines = [
        "balance leastconn",
        f'http-request set-path "%[path,bytes({len(prefix)})]" if {{ path_beg "{route.path}" }}',
    ]
    if route.base_path:
        lines.append(f'http-request set-path "{route.base_path}%[path]"')
    if route.key is not None:
        # HAProxy replaces variables between double quotes when it reads the file.
        key = route.key.value or f"${{{route.key.variable}}}"
        lines.append(f'http-request set-header Authorization "Bearer {key}"')
    lines += (_server(server) for server in route.servers)
    body = "".join(f"    {line}\n" for line in lines)
    return f"\nbackend {route.name} from llm_hub\n{body}"


def _server(server: RoutableServer) -> str:
    address = join_host_port(server.host, server.port)
    options = "check inter 2s fall 2 rise 1 init-addr last,libc,none"
    if server.scheme == "https":
        options += f" ssl verify required ca-file @system-ca sni str({server.host})"
    return f"server {server_name(server)} {address} {options}"
