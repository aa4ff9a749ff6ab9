"""nginx: an upstream group for each model and a server with a location for each.

The file belongs into the `http` block (`include`). See
https://nginx.org/en/docs/http/ngx_http_upstream_module.html.
"""

from hub.base.address import join_host_port
from hub.registry.rendering.model_routes import ModelRoute, model_routes, refusal
from hub.registry.rendering.routable_fleet import RoutableFleet, RoutableServer

_SERVER = """\
server {{
    listen {listen};
    client_max_body_size 64m;
    # A stream is passed on as it comes, and may pause while a model loads or thinks.
    proxy_buffering off;
    proxy_read_timeout 600s;
    proxy_send_timeout 600s;
    proxy_connect_timeout 3s;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_next_upstream error timeout http_502 http_503 non_idempotent;
    proxy_next_upstream_tries 3;
"""
_NO_MODEL = f"""\
    location / {{
        default_type application/json;
        return 404 '{refusal("The base URL is /models/MODEL/v1.")}';
    }}
}}
"""


def nginx_config(fleet: RoutableFleet, listen: str) -> str:
    """The configuration; nginx resolves the servers' names when it reads the file."""
    routes = model_routes(fleet, _common)
    blocks = [
        routes.remarks(),
        *(_upstream(route) for route in routes.routes),
        _SERVER.format(listen=listen),
        *(_location(route) for route in routes.routes),
        _NO_MODEL,
    ]
    return "".join(blocks)


def _common(server: RoutableServer) -> tuple[object, ...]:
    # A certificate is checked against one name for the whole group.
    host = server.host if server.scheme == "https" else ""
    return server.scheme, host, server.base_path, server.key


def _upstream(route: ModelRoute) -> str:
    servers = "".join(
        f"    server {join_host_port(server.host, server.port)} max_fails=2 fail_timeout=5s;\n"
        for server in route.servers
    )
    return f"upstream {route.name} {{\n    least_conn;\n{servers}    keepalive 32;\n}}\n"


def _location(route: ModelRoute) -> str:
    first = route.servers[0]
    lines = [f"proxy_pass {first.scheme}://{route.name}{route.base_path}/;"]
    if first.scheme == "https":
        lines += (
            "proxy_ssl_verify on;",
            "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;",
            "proxy_ssl_server_name on;",
            f"proxy_ssl_name {first.host};",
            f"proxy_set_header Host {first.host};",
        )
    if route.key is not None and route.key.value is not None:
        lines.append(f'proxy_set_header Authorization "Bearer {route.key.value}";')
    elif route.key is not None:
        lines.append(f"# Needs the API key in {route.key.variable}; nginx reads no variables.")
    body = "".join(f"        {line}\n" for line in lines)
    return f'    location ^~ "{route.path}" {{\n{body}    }}\n'
