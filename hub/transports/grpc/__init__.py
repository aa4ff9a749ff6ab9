"""The gRPC transport: the RPCs of the contract, health and reflection."""
