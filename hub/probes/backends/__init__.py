"""One small module per kind of inference server: its requests and the meaning of its answers."""
