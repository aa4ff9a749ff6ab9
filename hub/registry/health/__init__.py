"""From probe results to a status: misses, flapping, self-preservation, load times."""
