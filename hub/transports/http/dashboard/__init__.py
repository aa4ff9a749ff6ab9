"""What the dashboard page asks of the HTTP server: sign-in, its event stream, its files."""
