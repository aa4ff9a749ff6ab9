"""What the hub costs, held against the bare libraries it is made of: `python -m benchmarks`."""
