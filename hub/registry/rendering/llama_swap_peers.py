"""llama-swap's `peers`: each server with the models that llama-swap should send to it.

llama-swap does not balance: a model belongs to the first peer that lists it. So each model
appears once, at a server that depends only on the names; the models spread over the servers.
See config-schema.json in llama-swap's repository.
"""

import hashlib

from hub.registry.rendering.block_yaml import Plain, block_yaml
from hub.registry.rendering.routable_fleet import Deployment, RoutableFleet


def llama_swap_config(fleet: RoutableFleet) -> str:
    """The configuration as YAML, without models that llama-swap itself would start."""
    models: dict[str, list[str]] = {}
    for name, deployments in fleet.models.items():
        chosen = max(deployments, key=_weight)
        models.setdefault(chosen.server.id, []).append(name)
    peers: dict[str, Plain] = {}
    for server in fleet.servers:
        if server.id not in models:
            continue
        peer: dict[str, Plain] = {"proxy": server.url, "models": models[server.id]}
        if server.key is not None:
            variable = f"${{env.{server.key.variable}}}"
            peer["apiKey"] = variable if server.key.value is None else server.key.value
        peers[server.id] = peer
    return block_yaml({"models": {}, "peers": peers})


def _weight(deployment: Deployment) -> bytes:
    """Rendezvous hashing: a server that comes or goes moves only its own models."""
    named = f"{deployment.model.name}\0{deployment.server.id}"
    return hashlib.sha256(named.encode()).digest()
