"""Which endpoint serves a model best: criteria, scores, rankings, leases."""
