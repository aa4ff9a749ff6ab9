"""The endpoints file of llm-d's router, for its plugin `file-discovery`.

The plugin takes IPv4 addresses only, and does not start with anything else in the file. It
knows neither TLS, paths nor API keys, and routes every model to every endpoint: select one
model with `--model`. See `pkg/epp/framework/plugins/datalayer/discovery/file` of llm-d-router.
"""

import re
from typing import Final

from hub.registry.rendering.block_yaml import Plain, block_yaml
from hub.registry.rendering.routable_fleet import RoutableFleet, RoutableServer

_IPV4: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")
_NOT_IN_A_NAME: Final = re.compile("[^a-z0-9-]")


def llm_d_endpoints(fleet: RoutableFleet) -> str:
    """The file as YAML; a comment names the servers that it cannot contain."""
    usable = [server for server in fleet.servers if _is_usable(server)]
    left_out = [server.url for server in fleet.servers if not _is_usable(server)]
    endpoints: list[Plain] = [_endpoint(server) for server in usable]
    head = "".join(f"# Left out, not http://IPV4:PORT: {url}\n" for url in left_out)
    return head + block_yaml({"endpoints": endpoints})


def _is_usable(server: RoutableServer) -> bool:
    return server.scheme == "http" and not server.base_path and bool(_IPV4.fullmatch(server.host))


def _endpoint(server: RoutableServer) -> Plain:
    endpoint: dict[str, Plain] = {
        "name": _NOT_IN_A_NAME.sub("-", server.id),
        "address": server.host,
        "port": str(server.port),
    }
    if server.labels:
        endpoint["labels"] = dict(server.labels)
    return endpoint
