"""What each RPC and operation does, after authorization and validation."""
