"""The measured server processes: the hub, and the bare-library floors."""
