"""What the wire says: the RPC table, errors, validation and the JSON dialect."""
