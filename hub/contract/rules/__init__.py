"""The rules of the contract as closures, each compiled once from the descriptors."""
