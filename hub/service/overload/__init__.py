"""What the hub refuses when it has too much to do, the cheapest work first."""
