"""Pictures in, float vectors out: the sole home of torch in batch."""
