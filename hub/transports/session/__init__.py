"""A sidecar's conversation without sockets: frames in, frames out."""
