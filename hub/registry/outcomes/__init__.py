"""What the outcomes of requests show about endpoints: figures and circuit breakers. Pure."""
