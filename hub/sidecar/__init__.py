"""The reference sidecar: reports a host's resources and inference servers to the hub.

It speaks the frames that any other sidecar speaks and knows nothing else of the
hub: no protobuf, no gRPC, so that it stays small beside the servers it watches.

    runner ─► connection ─► Conversation (frames in, frames out)   ◄─ Sampler ◄─ collectors
       └────► Backoff (when to come back)                          ◄─ Discovery
"""
