"""Labels and a lake's features to heads, heads to predictions, pictures to a network of one's own."""
