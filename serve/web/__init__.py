"""What every request passes: limits, keys, origins, access log."""
