"""The reference sidecar: reports a host's resources and inference servers to the hub.

It speaks the frames that any other sidecar speaks, and looks at its servers with the
hub's own probers. It loads neither gRPC nor the hub's HTTP client and settings, so that
it stays small beside the servers that it watches.

    runner ─► connection ─► Conversation (frames in, frames out)   ◄─ Sampler ◄─ collectors
       └────► ReconnectDelay (when to come back)                   ◄─ Discovery ◄─ LocalProbes
"""
