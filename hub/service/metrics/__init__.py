"""What Prometheus is told: plain numbers kept by the parts, made into metrics when asked."""
