"""A stream's rows: journalled at once, published later, each once."""
