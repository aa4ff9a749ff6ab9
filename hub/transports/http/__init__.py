"""The HTTP transport: the admin API, metrics, exports and the dashboard."""
