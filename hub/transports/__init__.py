"""Bytes in, bytes out: gRPC, HTTP, WebSocket, and the session of a sidecar."""
