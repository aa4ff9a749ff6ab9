"""Who may do what: tokens, principals, rate limits, browser sessions."""
