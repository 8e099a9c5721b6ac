"""Plain values that pass between wings, and their Arrow columns. Nothing here reads or writes."""
