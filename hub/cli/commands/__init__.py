"""One module for each group of `llm-hub` commands."""
