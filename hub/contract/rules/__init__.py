"""The contract's validation rules as closures, compiled once from the descriptors."""
