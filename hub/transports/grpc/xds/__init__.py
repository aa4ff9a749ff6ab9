"""Envoy's discovery services (xDS) over gRPC: the set of endpoints, and its cluster."""
