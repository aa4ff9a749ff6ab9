"""Access control: callers, credentials, tokens, rate limits, browser sessions."""
