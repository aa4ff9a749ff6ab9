"""What the command prints: grids, words, terminal views."""
