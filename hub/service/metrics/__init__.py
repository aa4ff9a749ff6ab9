"""What Prometheus scrapes: plain counts, turned into metrics on request."""
