"""Who may do what: callers, credentials, tokens, rate limits, browser sessions."""
