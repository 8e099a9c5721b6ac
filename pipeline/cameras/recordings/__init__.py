"""What came in, kept as it came: written beside the rows, read again to fill and to verify."""
