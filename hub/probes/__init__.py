"""Health probes: when and how to query an inference server, and what its answers mean."""
