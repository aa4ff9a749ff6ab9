"""How the command reaches a hub: options, TLS files, connections, errors."""
