"""One small file per kind of inference server: what to ask it and what its answers mean."""
