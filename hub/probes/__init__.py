"""Health probes: when to ask an inference server, how, and what its answers mean."""
