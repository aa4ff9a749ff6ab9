"""One hub process: assemble, start, reload and stop it; logs and tracing."""
