"""What each RPC does, after authorization and validation; one class per service."""
