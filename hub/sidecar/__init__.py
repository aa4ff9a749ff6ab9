"""The reference sidecar: reports a host's resources and inference servers to the hub.

It sends the same frames as any other sidecar, and probes its servers with the hub's own
probers. It loads neither gRPC nor the hub's HTTP client and settings, so that it stays
small beside the servers that it watches.

    runner ─► connection ─► Conversation (frames in, frames out)   ◄─ Sampler ◄─ collectors
       └────► ReconnectDelay (when to reconnect)                   ◄─ Discovery ◄─ LocalProbes
"""
