"""Metrics for Prometheus: plain counts, turned into metrics at each scrape."""
