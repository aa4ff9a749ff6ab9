"""The JSON dialect of the hub, derived from the descriptors of `llmhub.v1`."""
