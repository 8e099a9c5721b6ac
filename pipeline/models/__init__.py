"""Networks, their weights and preprocessing: pictures in, float vectors out. Sole home of torch in batch."""
