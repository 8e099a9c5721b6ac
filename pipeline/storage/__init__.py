"""Objects by address, whatever the store: list, identify, read, try again."""
