"""The hub's own gRPC server: HTTP/2 and gRPC without sockets, and an asyncio shell."""
