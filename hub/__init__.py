"""The LLM Registry Hub: one place that knows a fleet of inference servers."""
