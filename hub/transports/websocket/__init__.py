"""The WebSocket server: JSON frames between sidecars and their sessions."""
