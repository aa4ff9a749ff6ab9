"""The dashboard's part of the HTTP server: sign-in, the event stream, and the page's files."""
