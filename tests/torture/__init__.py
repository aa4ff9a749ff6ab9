"""What is done to a hub on purpose, and what it loses: `python -m tests.torture`."""
