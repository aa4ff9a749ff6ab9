"""A gRPC server of the hub's own: HTTP/2 and gRPC without sockets, and an asyncio shell."""
