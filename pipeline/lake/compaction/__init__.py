"""The same rows in large files."""
